import { ICON_PATH } from './page.js';
import { dataBlock, markup, type HtmlValue, type SafeHtml } from './markup.js';
import {
  inlines,
  type Block,
  type PageArea,
  type PageDocument,
  type Section,
  type Text,
} from './document.js';
import { markdownTwin } from './render-markdown.js';
import { STYLE_PATH } from './style.js';

/** The parts that every page has. */
export type PageFrame = {
  readonly publicUrl: string;
  /** Names the parts that are simulated; null when none is. */
  readonly sandbox: string | null;
};

const NAVIGATION: readonly (readonly [area: PageArea, name: string, href: string])[] = [
  ['models', 'Models', '/models'],
  ['compare', 'Compare', '/compare'],
  ['rankings', 'Rankings', '/rankings'],
  ['pricing', 'Pricing', '/pricing'],
  ['api', 'API', '/docs'],
];

/** A page with at least this many sections has a list of them. */
const CONTENTS_SECTIONS_MIN = 4;

export function renderHtml(page: PageDocument, frame: PageFrame): string {
  const { title, area, sections, jsonPath } = page;
  const { sandbox } = frame;
  const twin = getMarkdownPath(page);
  const hasContents = sections.length >= CONTENTS_SECTIONS_MIN;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
${renderMeta(page, frame)}<link rel="icon" href="${ICON_PATH}" type="image/svg+xml">
<link rel="stylesheet" href="${STYLE_PATH}">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="top"><div class="wide">
<a class="brand" href="/">Coffer</a>
<nav aria-label="Main"><ul>${NAVIGATION.map(([of, name, href]) => navigationEntry(name, href, of === area))}</ul></nav>
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
<ul>${twin === null ? null : markup`<li><a href="${twin}">This page as Markdown</a></li>`}
${jsonPath === null ? null : markup`<li><a href="${jsonPath}">This page as JSON</a></li>`}
<li><a href="/llms.txt">llms.txt</a></li><li><a href="/openapi.json">OpenAPI</a></li></ul></div></footer>
</body>
</html>
`.text;
}

/** Renders the pages of a single visitor, which controllers return, with the header, style and footer of the public pages. */
export class PageShell {
  constructor(private readonly frame: PageFrame) {}

  render(
    page: Omit<PageDocument, 'description' | 'eyebrow' | 'badges' | 'sections' | 'jsonPath' | 'area'>,
  ): string {
    return renderHtml(
      {
        description: '',
        eyebrow: [],
        badges: [],
        sections: [],
        jsonPath: null,
        area: null,
        ...page,
        isPrivate: true,
      },
      this.frame,
    );
  }
}

/** The metadata for search engines and for previews of links. */
function renderMeta(page: PageDocument, { publicUrl }: PageFrame): SafeHtml {
  const { title, description, path, isPrivate, refreshSeconds, subject } = page;
  const refresh =
    refreshSeconds === undefined ? null : markup`<meta http-equiv="refresh" content="${refreshSeconds}">\n`;
  if (isPrivate === true) return markup`${refresh}<meta name="robots" content="noindex">\n`;
  const twin = getMarkdownPath(page);
  return markup`<meta name="description" content="${description}">
<link rel="canonical" href="${publicUrl}${path}">
${twin === null ? null : markup`<link rel="alternate" type="text/markdown" href="${twin}">\n`}<meta property="og:type" content="website">
<meta property="og:site_name" content="Coffer">
<meta property="og:title" content="${title}">
<meta property="og:description" content="${description}">
<meta property="og:url" content="${publicUrl}${path}">
<meta name="twitter:card" content="summary">
${subject === undefined ? null : markup`${dataBlock(subject)}\n`}`;
}

/** Returns the path of the Markdown version; null for a page that has none. */
function getMarkdownPath({ path, isPrivate }: PageDocument): string | null {
  const twin = markdownTwin(path);
  return twin === path || isPrivate === true ? null : twin;
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

/** @param level the level of a heading inside the block: levels follow each other without a gap. */
function renderBlock(block: Block, level: 2 | 3): SafeHtml {
  switch (block.kind) {
    case 'paragraph':
      return markup`<p>${renderText(block.text)}</p>`;
    case 'heading':
      return level === 2
        ? markup`<h2>${renderText(block.text)}</h2>`
        : markup`<h3>${renderText(block.text)}</h3>`;
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
    case 'button':
      return markup`<form class="picker" action="${block.action}" method="post"><button type="submit">${block.label}</button></form>`;
    case 'picker':
      return renderPicker(block);
  }
}

type BlockOf<Kind extends Block['kind']> = Extract<Block, { readonly kind: Kind }>;

/**
 * On a narrow screen, each row becomes a block of lines, "column: value" (style.ts). Browsers then no longer present it as a table
 * to screen readers, so every part has an explicit role.
 */
function renderTable({ caption, head, rows, folded }: BlockOf<'table'>): SafeHtml {
  const cells = ([first, ...others]: readonly Text[]): HtmlValue => [
    markup`<th scope="row" role="rowheader">${renderText(first ?? '')}</th>`,
    ...others.map(
      (cell, index) =>
        markup`<td role="cell" data-column="${head[index + 1] ?? ''}"><div>${renderText(cell)}</div></td>`,
    ),
  ];
  const table = markup`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table role="table"><caption>${caption}</caption>
<thead role="rowgroup"><tr role="row">${head.map((cell) => markup`<th scope="col" role="columnheader">${cell}</th>`)}</tr></thead>
<tbody role="rowgroup">${rows.map((row) => markup`<tr role="row">${cells(row)}</tr>`)}</tbody></table></div>`;
  return folded === undefined ? table : markup`<details><summary>${folded}</summary>${table}</details>`;
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

/** The width of a bar is an SVG attribute, because the page's policy allows no style in the document. */
function renderBars({ caption, unit, bars }: BlockOf<'bars'>): SafeHtml {
  const rows = bars.map(
    ({ label, value, percent }) =>
      markup`<tr><th scope="row">${renderText(label)}</th><td class="bar"><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="${percent}" height="4"/></svg></td><td class="number">${value}</td></tr>`,
  );
  return markup`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table class="bars"><caption>${caption}</caption>
<thead><tr><th scope="col">Model</th><th scope="col"><span class="hidden">Share</span></th><th scope="col" class="number">${unit}</th></tr></thead>
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
