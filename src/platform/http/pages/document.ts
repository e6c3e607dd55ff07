/**
 * A page as data: its content without its appearance. HTML and Markdown are rendered from the same document, so both always have the
 * same content, and each of them is escaped in one function only.
 */
export type PageDocument = {
  /** Includes the query; the page is found under this address. */
  readonly path: string;
  readonly title: string;
  /** One or two sentences for search engines. */
  readonly description: string;
  /** A line above the heading. */
  readonly eyebrow: readonly Inline[];
  readonly heading: string;
  readonly lead: string;
  readonly badges: readonly string[];
  /** Before the first section. */
  readonly opening: readonly Block[];
  readonly sections: readonly Section[];
  /** The address of the same facts as JSON; null when there is none. */
  readonly jsonPath: string | null;
  /** The entry of the navigation that this page belongs to. */
  readonly area: PageArea | null;
  /** The page belongs to a single visitor: no search engine should store it, and its address is not for sharing. */
  readonly isPrivate?: true;
  /** The browser loads the page again after this many seconds, because its content changes soon. */
  readonly refreshSeconds?: number;
  /** schema.org's description of the subject of the page, for search engines. */
  readonly subject?: Readonly<Record<string, unknown>>;
};

export type PageArea = 'models' | 'compare' | 'rankings' | 'pricing' | 'api';

export type Section = {
  /** Its anchor. */
  readonly id: string;
  readonly heading: string;
  readonly blocks: readonly Block[];
};

export type Inline = string | { readonly code: string } | { readonly link: string; readonly href: string };
export type Text = string | readonly Inline[];

export type Fact = { readonly name: string; readonly value: Text };
export type Card = {
  readonly href: string;
  readonly name: string;
  readonly id: string;
  readonly tagline: string;
  readonly price: string;
  readonly badges: readonly string[];
};
export type Bar = { readonly label: Text; readonly value: string; readonly percent: number };
export type Choice = { readonly name: string; readonly href: string; readonly isCurrent: boolean };
export type Pick = { readonly value: string; readonly name: string; readonly isPicked: boolean };

export type Block =
  | { readonly kind: 'paragraph'; readonly text: Text }
  /** A heading below that of its section. */
  | { readonly kind: 'heading'; readonly text: Text }
  | { readonly kind: 'notice'; readonly text: Text }
  | { readonly kind: 'list'; readonly items: readonly Text[] }
  | { readonly kind: 'facts'; readonly facts: readonly Fact[] }
  | {
      readonly kind: 'table';
      readonly caption: string;
      readonly head: readonly string[];
      readonly rows: readonly (readonly Text[])[];
      /** The text that is shown until a reader opens the table; when absent, the table itself is shown. */
      readonly folded?: string;
    }
  | { readonly kind: 'code'; readonly title: string; readonly language: string; readonly text: string }
  | { readonly kind: 'cards'; readonly cards: readonly Card[] }
  | { readonly kind: 'choices'; readonly label: string; readonly choices: readonly Choice[] }
  | {
      readonly kind: 'questions';
      readonly questions: readonly { readonly question: string; readonly answer: Text }[];
    }
  | {
      readonly kind: 'bars';
      readonly caption: string;
      /** The unit of the numbers. */
      readonly unit: string;
      readonly bars: readonly Bar[];
    }
  /** A button that sends a POST request to an address of ours. */
  | { readonly kind: 'button'; readonly action: string; readonly label: string }
  | {
      readonly kind: 'picker';
      readonly action: string;
      readonly name: string;
      readonly label: string;
      readonly button: string;
      readonly picks: readonly Pick[];
    };

export function paragraph(text: Text): Block {
  return { kind: 'paragraph', text };
}

export function link(text: string, href: string): Inline {
  return { link: text, href };
}

export function code(text: string): Inline {
  return { code: text };
}

/** Text between backticks becomes code, as in the API's own descriptions. */
export function withCode(text: string): Inline[] {
  return text
    .split('`')
    .map((part, index) => (index % 2 === 1 ? code(part) : part))
    .filter((part) => part !== '');
}

export function inlines(text: Text): readonly Inline[] {
  return typeof text === 'string' ? [text] : text;
}
