export const HELP = `Usage: coffer <command>

  coffer verify FILE      Check a ledger export (csv or jsonl; - reads standard input) from itself alone:
                          every hash, sequence, posting and balance. Needs no server, database or settings.
  coffer doctor           Derive every wallet, hold, lot and chain again from the rows of the database and
    [--database-url URL]  name each row that does not agree. Reads only; the service may be running.
    [--json]              Without a URL: DATABASE_URL, or our own database in COFFER_DATA_DIR (./.coffer).
  coffer operator-key     Make an operator key, for COFFER_OPERATOR_KEY.
  coffer help             This text.

Exit status: 0 all is well, 1 something is wrong with the books, 2 it could not be checked.
`;
