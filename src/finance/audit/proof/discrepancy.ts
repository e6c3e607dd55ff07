/** One row that does not agree with the rows it follows from. */
export type Discrepancy = {
  readonly table: string;
  /** The row's key as a person would look for it: `account_id=acct_1 seq=7`. */
  readonly key: string;
  readonly column: string;
  readonly expected: string;
  readonly found: string;
};

/** How much was examined; a clean report without these numbers would also be printed for an empty database. */
export type ProofCounts = {
  accounts: number;
  transfers: number;
  wallets: number;
  lots: number;
  holds: number;
};

export type Report = (discrepancy: Discrepancy) => void;

export function formatKey(parts: Readonly<Record<string, string | null>>): string {
  return Object.entries(parts)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
