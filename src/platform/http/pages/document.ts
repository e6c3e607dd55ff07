/**
 * A page as data: what it says, not how it looks. HTML and Markdown are written from the same document, so
 * neither can say what the other does not, and there is one place each that escapes.
 */
export type PageDocument = {
  /** With its query; the address under which it is found again. */
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
  /** Where the same facts are as JSON; null when there is no such place. */
  readonly jsonPath: string | null;
  /** Which entry of the navigation this page belongs to. */
  readonly area: PageArea | null;
  /** A page of one visitor's own, which no search engine should keep and which has no address to share. */
  readonly isPrivate?: true;
  /** The page is read again after so many seconds, because what it says will have changed. */
  readonly refreshSeconds?: number;
  /** schema.org's description of what the page is about, for search engines. */
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
  /** Below the heading of its section. */
  | { readonly kind: 'heading'; readonly text: Text }
  | { readonly kind: 'notice'; readonly text: Text }
  | { readonly kind: 'list'; readonly items: readonly Text[] }
  | { readonly kind: 'facts'; readonly facts: readonly Fact[] }
  | {
      readonly kind: 'table';
      readonly caption: string;
      readonly head: readonly string[];
      readonly rows: readonly (readonly Text[])[];
      /** What is shown instead until a reader opens it; absent: the table itself. */
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
      /** What the numbers count. */
      readonly unit: string;
      readonly bars: readonly Bar[];
    }
  /** A button that posts to an address of ours. */
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

/** `a` between backticks becomes code, as the API's own descriptions have it. */
export function withCode(text: string): Inline[] {
  return text
    .split('`')
    .map((part, index) => (index % 2 === 1 ? code(part) : part))
    .filter((part) => part !== '');
}

export function inlines(text: Text): readonly Inline[] {
  return typeof text === 'string' ? [text] : text;
}
