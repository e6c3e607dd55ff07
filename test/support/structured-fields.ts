export type ListItem = {
  readonly value: string;
  readonly parameters: Readonly<Record<string, string | number>>;
};

/**
 * A list of strings with parameters, as RFC 9651 writes them in a header; as much of it as rate limits use. Strict: throws
 * for anything else, for a client's parser would drop the whole header.
 */
export function parseList(header: string): ListItem[] {
  let rest = header;
  const eat = (pattern: RegExp): string => {
    const match = new RegExp(`^(?:${pattern.source})`).exec(rest);
    if (match === null) throw new Error(`not a structured field at '${rest}' in '${header}'`);
    rest = rest.slice(match[0].length);
    return match[0];
  };
  const eatString = (): string => eat(/"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"/).slice(1, -1);
  const items: ListItem[] = [];
  for (;;) {
    const value = eatString();
    const parameters: Record<string, string | number> = {};
    while (rest.startsWith(';')) {
      eat(/; */);
      const name = eat(/[a-z*][a-z0-9_.*-]*/);
      eat(/=/);
      parameters[name] = rest.startsWith('"') ? eatString() : Number(eat(/-?\d{1,15}/));
    }
    items.push({ value, parameters });
    if (rest === '') return items;
    eat(/[ \t]*,[ \t]*/);
  }
}
