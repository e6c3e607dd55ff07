import { ROW_BY_ROW } from './row-by-row.js';

/** How a batch writes one table. */
export type TableWrite = {
  /** Short: the names of prepared statements are made of these, and Postgres cuts them at 63 bytes. */
  readonly code: string;
  /** The types of the columns, in order. */
  readonly types: readonly string[];
  /** The statement, given what yields its rows. */
  readonly text: (rows: string) => string;
};
export type Value = string | number | null;
export type Column<Row> = (row: Row) => Value;

/**
 * The rest of an update of the rows that `v` names by their key. The row's place, which the wallet's lock keeps
 * it at, stands between the two: see `ROW_BY_ROW`.
 */
export function rowOf(table: string, ...key: readonly string[]): string {
  const named = key.map((column) => `k.${column} = v.${column}`).join(' AND ');
  return `LATERAL (SELECT k.ctid FROM ${table} k WHERE ${named} ${ROW_BY_ROW}) AS found
   WHERE ${table}.ctid = found.ctid`;
}
