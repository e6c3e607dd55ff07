export const HELP = `Usage: coffer <command>

  coffer verify FILE      Check a ledger export (csv or jsonl; - reads standard input) from itself alone:
                          every hash, sequence, posting and balance. Needs no server, database or settings.
  coffer doctor           Derive every wallet, hold, lot and chain again from the rows of the database and
    [--database-url URL]  name each row that does not agree. Reads only; the service may be running.
    [--json]              Without a URL: DATABASE_URL, or our own database in COFFER_DATA_DIR (./.coffer).
  coffer catalog diff     Show what a catalogue file would change: models, prices, routes.
    [FILE]                Without a file: catalog/models.json of this release.
  coffer catalog apply    Show the same, ask, and publish it as the next version, prices included; the running
    [FILE] [--yes]        service takes it up within seconds. --yes asks nothing. Both take --database-url URL.
  coffer migrate          Bring the database of MIGRATION_DATABASE_URL up to date as its owner, and make and grant what the
                          login of DATABASE_URL needs.
  coffer operator-key     Make an operator key, for COFFER_OPERATOR_KEY.
  coffer help             This text.

Exit status: 0 all is well, 1 something is wrong with the books (or: the catalogues differ, nothing was published),
2 it could not be done.
`;
