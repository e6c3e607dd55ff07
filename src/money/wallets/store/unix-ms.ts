/**
 * Unix milliseconds of a column that keeps whole ones. `extract` computes in NUMERIC, which costs several times as much; a
 * double is exact far beyond any time that a column holds, and the cast rounds.
 */
export const msOf = (column: string): string => `(date_part('epoch', ${column}) * 1000)::bigint`;
