import { inlines, type Block, type PageDocument, type Text } from './document.js';

/** Returns the Markdown version of a page. `sandbox` is the sentence that names simulated parts; null when none is. */
export function renderMarkdown(page: PageDocument, sandbox: string | null): string {
  const { heading, lead, badges, opening, sections, jsonPath } = page;
  const parts = [
    `# ${escapeMarkdown(heading)}`,
    ...(sandbox === null ? [] : [`> **Sandbox.** ${escapeMarkdown(sandbox)}`]),
    escapeMarkdown(lead),
    ...(badges.length === 0 ? [] : [badges.map(escapeMarkdown).join(' · ')]),
    ...opening.map(renderBlock),
    ...sections.flatMap((section) => [
      `## ${escapeMarkdown(section.heading)}`,
      ...section.blocks.map(renderBlock),
    ]),
    ...(jsonPath === null ? [] : [`The same as JSON: [${escapeMarkdown(jsonPath)}](${jsonPath})`]),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function renderBlock(block: Block): string {
  switch (block.kind) {
    case 'paragraph':
      return renderText(block.text);
    case 'heading':
      return `### ${renderText(block.text)}`;
    case 'notice':
      return `> ${renderText(block.text)}`;
    case 'list':
      return block.items.map((item) => `- ${renderText(item)}`).join('\n');
    case 'facts':
      return block.facts
        .map(({ name, value }) => `- **${escapeMarkdown(name)}:** ${renderText(value)}`)
        .join('\n');
    case 'table':
      return renderTable(block.head, block.rows);
    case 'code':
      return `${escapeMarkdown(block.title)}:\n\n${fence(block.language, block.text)}`;
    case 'cards':
      return block.cards
        .map(
          ({ name, href, id, tagline, price }) =>
            `- [${escapeMarkdown(name)}](${markdownTwin(href)}) (${inlineCode(id)}, ${escapeMarkdown(price)}): ${escapeMarkdown(tagline)}`,
        )
        .join('\n');
    case 'questions':
      return block.questions
        .map(({ question, answer }) => `### ${escapeMarkdown(question)}\n\n${renderText(answer)}`)
        .join('\n\n');
    case 'bars':
      return renderTable(
        ['Model', block.unit],
        block.bars.map(({ label, value }) => [label, value]),
      );
    // These are controls of the page, without content of their own.
    case 'choices':
    case 'button':
    case 'picker':
      return '';
  }
}

function renderTable(head: readonly string[], rows: readonly (readonly Text[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(head.map(escapeMarkdown)),
    line(head.map(() => '---')),
    ...rows.map((cells) => line(cells.map(renderText))),
  ].join('\n');
}

function renderText(text: Text): string {
  return inlines(text)
    .map((part) => {
      if (typeof part === 'string') return escapeMarkdown(part);
      if ('code' in part) return inlineCode(part.code);
      return `[${escapeMarkdown(part.link)}](${markdownTwin(part.href)})`;
    })
    .join('');
}

/** Links to our own pages become links to their Markdown versions; other links are not changed. */
export function markdownTwin(href: string): string {
  const match =
    /^(\/(?:models|compare|rankings|pricing|collections|docs)(?:\/[^?#]*)?)(\?[^#]*)?(#.*)?$/.exec(href);
  return match === null ? href : `${match[1]}.md${match[2] ?? ''}${match[3] ?? ''}`;
}

/** Code that contains backticks needs a longer run of them around it, and a bar would end the cell of a table. */
function inlineCode(source: string): string {
  const text = source.replace(/\s+/g, ' ');
  const marks = '`'.repeat(longestRun(text) + 1);
  const padded = /^`|`$/.test(text) ? ` ${text} ` : text;
  return `${marks}${padded.replaceAll('|', '\\|')}${marks}`;
}

function fence(language: string, text: string): string {
  const marks = '`'.repeat(Math.max(3, longestRun(text) + 1));
  return `${marks}${language}\n${text}\n${marks}`;
}

function longestRun(text: string): number {
  return Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
}

/** Escapes a text, so that it cannot become markup, HTML or a new block. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_[\]<>|&]/g, (character) => `\\${character}`)
    .replace(/^(\s*)([#+=~-]|\d+[.)])/, '$1\\$2');
}
