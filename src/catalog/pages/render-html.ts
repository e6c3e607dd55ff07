import { markup, type HtmlValue, type SafeHtml } from './markup.js';
import {
  inlines,
  type Block,
  type PageArea,
  type PageDocument,
  type Section,
  type Text,
} from './document.js';
import { markdownTwin } from './render-markdown.js';

/** What surrounds every page. */
export type PageFrame = {
  readonly publicUrl: string;
  readonly stylePath: string;
  /** Names the parts that are simulated; null when none is. */
  readonly sandbox: string | null;
};

const NAVIGATION: readonly (readonly [area: PageArea | null, name: string, href: string])[] = [
  ['models', 'Models', '/models'],
  ['compare', 'Compare', '/compare'],
  ['rankings', 'Rankings', '/rankings'],
  ['pricing', 'Pricing', '/pricing'],
  [null, 'API', '/docs'],
];

/** From so many sections on a page has a list of them. */
const CONTENTS_SECTIONS_MIN = 4;

export function renderHtml(page: PageDocument, { publicUrl, stylePath, sandbox }: PageFrame): string {
  const { title, description, path, area, sections, jsonPath } = page;
  const twin = markdownTwin(path);
  const hasContents = sections.length >= CONTENTS_SECTIONS_MIN;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<meta name="description" content="${description}">
<link rel="canonical" href="${publicUrl}${path}">
<link rel="alternate" type="text/markdown" href="${twin}">
<link rel="stylesheet" href="${stylePath}">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="top"><div class="wide">
<a class="brand" href="/">Coffer</a>
<nav aria-label="Main"><ul>${NAVIGATION.map(([of, name, href]) => navigationEntry(name, href, of !== null && of === area))}</ul></nav>
</div></header>
${sandbox === null ? null : markup`<aside class="sandbox" aria-label="Sandbox"><p class="wide"><b>Sandbox.</b> ${sandbox}</p></aside>`}
<main id="content" class="wide">
${renderHero(page)}
<div class="${hasContents ? 'columns' : 'column'}">
${hasContents ? renderContents(sections) : null}
<div class="body">${page.opening.map((block) => renderBlock(block, 2))}${sections.map(renderSection)}</div>
</div>
</main>
<footer class="bottom"><div class="wide"><p>Pay per delivered image. Nothing for a call that failed.</p>
<ul><li><a href="${twin}">This page as Markdown</a></li>
${jsonPath === null ? null : markup`<li><a href="${jsonPath}">This page as JSON</a></li>`}
<li><a href="/llms.txt">llms.txt</a></li><li><a href="/openapi.json">OpenAPI</a></li></ul></div></footer>
</body>
</html>
`.text;
}

function navigationEntry(name: string, href: string, isCurrent: boolean): SafeHtml {
  return isCurrent
    ? markup`<li><a href="${href}" aria-current="true">${name}</a></li>`
    : markup`<li><a href="${href}">${name}</a></li>`;
}

function renderHero({ eyebrow, heading, lead, badges }: PageDocument): SafeHtml {
  return markup`<div class="hero">
${eyebrow.length === 0 ? null : markup`<p class="eyebrow">${renderText(eyebrow)}</p>`}
<h1>${heading}</h1>
<p class="lead">${lead}</p>
${badges.length === 0 ? null : renderBadges(badges)}
</div>`;
}

function renderBadges(badges: readonly string[]): SafeHtml {
  return markup`<ul class="badges">${badges.map((badge) => markup`<li>${badge}</li>`)}</ul>`;
}

function renderContents(sections: readonly Section[]): SafeHtml {
  const entries = sections.map(({ id, heading }) => markup`<li><a href="#${id}">${heading}</a></li>`);
  return markup`<nav class="contents" aria-label="On this page"><p>On this page</p><ul>${entries}</ul></nav>`;
}

function renderSection({ id, heading, blocks }: Section): SafeHtml {
  return markup`<section aria-labelledby="${id}"><h2 id="${id}">${heading}</h2>${blocks.map((block) => renderBlock(block, 3))}</section>`;
}

/** `level`: of a heading inside the block, so that none is left out on the way down. */
function renderBlock(block: Block, level: 2 | 3): SafeHtml {
  switch (block.kind) {
    case 'paragraph':
      return markup`<p>${renderText(block.text)}</p>`;
    case 'notice':
      return markup`<p class="notice" role="note">${renderText(block.text)}</p>`;
    case 'list':
      return markup`<ul class="points">${block.items.map((item) => markup`<li>${renderText(item)}</li>`)}</ul>`;
    case 'facts':
      return markup`<dl class="facts">${block.facts.map(({ name, value }) => markup`<div><dt>${name}</dt><dd>${renderText(value)}</dd></div>`)}</dl>`;
    case 'table':
      return renderTable(block);
    case 'code':
      return markup`<figure class="code"><figcaption>${block.title}</figcaption><pre tabindex="0" aria-label="${block.title}"><code class="language-${block.language}">${block.text}</code></pre></figure>`;
    case 'cards':
      return markup`<ul class="cards">${block.cards.map((card) => renderCard(card, level))}</ul>`;
    case 'choices':
      return markup`<nav class="choices" aria-label="${block.label}"><ul>${block.choices.map(({ name, href, isCurrent }) => navigationEntry(name, href, isCurrent))}</ul></nav>`;
    case 'questions':
      return markup`<div class="questions">${block.questions.map(({ question, answer }) => markup`<h3>${question}</h3><p>${renderText(answer)}</p>`)}</div>`;
    case 'bars':
      return renderBars(block);
    case 'picker':
      return renderPicker(block);
  }
}

type BlockOf<Kind extends Block['kind']> = Extract<Block, { readonly kind: Kind }>;

function renderTable({ caption, head, rows }: BlockOf<'table'>): SafeHtml {
  const cells = ([first, ...others]: readonly Text[]): HtmlValue => [
    markup`<th scope="row">${renderText(first ?? '')}</th>`,
    ...others.map((cell) => markup`<td>${renderText(cell)}</td>`),
  ];
  return markup`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table><caption>${caption}</caption>
<thead><tr>${head.map((cell) => markup`<th scope="col">${cell}</th>`)}</tr></thead>
<tbody>${rows.map((row) => markup`<tr>${cells(row)}</tr>`)}</tbody></table></div>`;
}

function renderCard(
  { href, name, id, tagline, price, badges }: BlockOf<'cards'>['cards'][number],
  level: 2 | 3,
): SafeHtml {
  const title = markup`<a href="${href}">${name}</a>`;
  const heading = level === 2 ? markup`<h2>${title}</h2>` : markup`<h3>${title}</h3>`;
  return markup`<li class="card">${heading}<p class="id"><code>${id}</code></p>
<p>${tagline}</p><div class="card-foot"><b class="price">${price}</b>${renderBadges(badges)}</div></li>`;
}

/** The width of a bar is an attribute of its drawing: the page's policy allows no style in the document. */
function renderBars({ caption, bars }: BlockOf<'bars'>): SafeHtml {
  const rows = bars.map(
    ({ label, value, percent }) =>
      markup`<tr><th scope="row">${renderText(label)}</th><td class="bar"><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="${percent}" height="4"/></svg></td><td class="number">${value}</td></tr>`,
  );
  return markup`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table class="bars"><caption>${caption}</caption>
<thead><tr><th scope="col">Model</th><th scope="col"><span class="hidden">Share</span></th><th scope="col" class="number">${caption}</th></tr></thead>
<tbody>${rows}</tbody></table></div>`;
}

function renderPicker({ action, name, label, button, picks }: BlockOf<'picker'>): SafeHtml {
  const boxes = picks.map(({ value, name: shown, isPicked }) =>
    isPicked
      ? markup`<label><input type="checkbox" name="${name}" value="${value}" checked> ${shown}</label>`
      : markup`<label><input type="checkbox" name="${name}" value="${value}"> ${shown}</label>`,
  );
  return markup`<form class="picker" action="${action}" method="get"><fieldset><legend>${label}</legend>${boxes}</fieldset><button type="submit">${button}</button></form>`;
}

function renderText(text: Text): HtmlValue {
  return inlines(text).map((part) => {
    if (typeof part === 'string') return part;
    if ('code' in part) return markup`<code>${part.code}</code>`;
    return markup`<a href="${part.href}">${part.link}</a>`;
  });
}
