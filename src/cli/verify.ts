import { createReadStream } from 'node:fs';
import { formatUsd, micros } from '../platform/common/money.js';
import { LEDGER_ACCOUNTS, type LedgerAccount } from '../money/ledger/transfer.js';
import {
  type ExportFault,
  type ExportSummary,
  type LedgerTotals,
  verifyStream,
} from '../money/ledger/export/verify-export.js';
import { grouped, pairs, print } from './output.js';

const CHUNK_BYTES = 1_048_576;

/** `coffer verify FILE` exits with 0 when the export proves itself, and with 1 and the first bad row when it does not. */
export async function verify(file: string): Promise<number> {
  const input: AsyncIterable<Buffer> =
    file === '-' ? process.stdin : createReadStream(file, { highWaterMark: CHUNK_BYTES });
  const verdict = await verifyStream(input);
  const name = file === '-' ? 'standard input' : file;
  if (!verdict.ok) {
    print(...describeFault(name, verdict.fault));
    return 1;
  }
  print(...describeExport(name, verdict.summary));
  return 0;
}

function describeFault(name: string, fault: ExportFault): string[] {
  const { line, row, column, expected, found } = fault;
  return [
    `NOT VERIFIED: ${name}, line ${line}`,
    ...pairs([
      ...(row === null ? [] : [['row', `account ${row.accountId}, seq ${row.seq}, id ${row.id}`] as const]),
      ...(column === null ? [] : [['column', column] as const]),
      ['expected', expected],
      ['found', found],
    ]),
  ];
}

function describeExport(name: string, { end, accounts, openedMidChain, totals }: ExportSummary): string[] {
  const midChain = `${grouped(openedMidChain)} of them from the middle of a chain: what came before is taken as given`;
  return [
    `VERIFIED: ${name}`,
    ...pairs([
      ['transfers', `${grouped(end.rows)} in ${grouped(accounts)} accounts`],
      ...(openedMidChain === 0 ? [] : [['accounts', midChain] as const]),
      [
        'range',
        `${end.from ?? 'the first row'} to ${end.to ?? 'the last row'}, ${end.account ?? 'all accounts'}`,
      ],
      ['exported', end.exported_at],
      ['digest', end.digest],
    ]),
    '',
    ...trialBalance(totals),
  ];
}

type Totals = ReadonlyMap<LedgerAccount, Readonly<LedgerTotals>>;

/** Lists the debits and credits of each ledger account, and its balance on the account's normal side. */
function trialBalance(totals: Totals): string[] {
  const usd = (amount: bigint): string => formatUsd(micros(amount));
  let debits = 0n;
  let credits = 0n;
  const rows: string[][] = [['ledger account', 'type', 'debits', 'credits', 'balance']];
  for (const [account, type] of Object.entries(LEDGER_ACCOUNTS) as [LedgerAccount, string][]) {
    const total = totals.get(account);
    if (total === undefined) continue;
    debits += total.debitsMicros;
    credits += total.creditsMicros;
    const debitSide = total.debitsMicros - total.creditsMicros;
    const balance = type === 'asset' || type === 'expense' ? debitSide : -debitSide;
    rows.push([account, type, usd(total.debitsMicros), usd(total.creditsMicros), usd(balance)]);
  }
  rows.push(['total', '', usd(debits), usd(credits), usd(debits - credits)]);
  const widths =
    rows[0]?.map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? '').length))) ?? [];
  return rows.map((row) =>
    `  ${row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ')}`.trimEnd(),
  );
}
