/** A subcommand: takes its arguments, prints, and answers the exit status. */
export type Command = (args: readonly string[]) => Promise<number>;

/** The command was called wrongly; shown together with the help. */
export class UsageError extends Error {}

export function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** `2000000` as `2,000,000`. */
export function grouped(count: number | string): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Lines of two columns, the first as wide as its longest text. */
export function pairs(entries: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}
