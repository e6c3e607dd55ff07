import {
  EXPORT_COLUMNS,
  ExportDigest,
  type ExportEnd,
  type ExportFormat,
  type ExportRow,
} from '../../../src/money/ledger/export/export-format.js';
import {
  isCustomerLedgerAccount,
  LEDGER_ACCOUNTS,
  POSTING_RULES,
  transferId,
} from '../../../src/money/ledger/transfer.js';
import { customerEffect } from '../../../src/money/ledger/chain-walk.js';
import type { SeededRandom } from '../seeded-random.js';
import { forgeHashes, putTogether, type ExportFile } from './export-files.js';

/**
 * What an export alone can say of a changed file. `refused`: it shows. `accepted`: no value was changed. `unknown`: a
 * forger who computes everything again may have kept all the rules, so only another export or the database can show it.
 */
export type Expectation = 'refused' | 'accepted' | 'unknown';
export type Tampered = { readonly file: Buffer; readonly expect: Expectation };

/** A genuine export. `whole`: every book from its first row. */
export type Genuine = ExportFile & { readonly format: ExportFormat; readonly whole: boolean };

export type Tamper = (genuine: Genuine, random: SeededRandom) => Tampered | null;

/** Every kind by its name; null where the file has nothing to do it to. */
export const TAMPERS: Readonly<Record<string, Tamper>> = {
  // Somebody changes a file and leaves everything else as it was, or makes a new last line at most.
  'a value changed': rows((copy, random) => void changeAnything(copy, random)),
  'a value changed, new last line': rows((copy, random) => void changeAnything(copy, random), redigest),
  'a value changed, its own hash computed again': rows((copy, random) => {
    const row = changeAnything(copy, random, ['memo', 'actor', 'reference', 'lot_id', 'amount_micros']);
    const { hash } = forgeHashes({ rows: [row], end: END_OF_NOTHING }).rows[0] as ExportRow;
    copy[copy.indexOf(row)] = { ...row, hash };
  }),
  'a row left out': rows((copy, random) => void copy.splice(middleOfBook(copy, random), 1), redigest),
  'a row put in': rows((copy, random) => {
    const at = notLast(copy, random);
    copy.splice(at, 0, { ...random.pick(copy), seq: (copy[at] as ExportRow).seq });
  }, redigest),
  'a row twice': rows((copy, random) => {
    const at = random.between(0, copy.length - 1);
    copy.splice(at, 0, copy[at] as ExportRow);
  }, redigest),
  'two rows that changed places': rows((copy, random) => {
    const at = notLast(copy, random);
    copy.splice(at, 2, copy[at + 1] as ExportRow, copy[at] as ExportRow);
  }, redigest),
  "a row in another's book": rows((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const row = copy[at] as ExportRow;
    const others = copy.filter(({ account_id }) => account_id !== row.account_id);
    const account_id = others.length === 0 ? 'acct_other' : random.pick(others).account_id;
    copy[at] = { ...row, account_id, id: transferId(account_id, Number(row.seq)) };
  }, redigest),
  'cut short': bytes((text, random) => text.subarray(0, random.between(0, text.length - 2))),
  'the last line left out': lines((all) => all.slice(0, -1)),
  'the last line changed': (genuine, random) => {
    const { end } = genuine;
    const member = random.pick(['rows', 'from', 'to', 'account', 'exported_at', 'digest'] as const);
    const other = { rows: '7777', digest: 'a'.repeat(64), account: 'acct_other' } as Partial<ExportEnd>;
    const value = end[member] !== null && random.next() < 0.2 && NULLABLE.has(member) ? null : other[member];
    const changed = { ...end, [member]: value === undefined ? anyTime(random) : value };
    return tampered(putTogether({ rows: genuine.rows, end: changed }, genuine.format), 'refused');
  },
  'a bit flipped': bytes((text, random) => {
    const at = random.between(0, text.length - 1);
    text[at] = (text[at] as number) ^ (1 << random.between(0, 7));
    return text;
  }),

  // A forger who computes all hashes and the digest again.
  'the end of a book cut off, everything computed again': forged((copy, random) => {
    const end = lastOfBook(copy, random);
    copy.splice(end, 1);
  }, 'unknown'),
  'a book left out, everything computed again': forged((copy, random) => {
    const { account_id } = random.pick(copy);
    copy.splice(0, copy.length, ...copy.filter((row) => row.account_id !== account_id));
  }, 'unknown'),
  'an amount changed, everything computed again': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    copy[at] = { ...(copy[at] as ExportRow), amount_micros: `${random.between(1, 200_000)}` };
  }, 'unknown'),
  'a row left out, everything computed again': forged((copy, random) => {
    copy.splice(random.between(0, copy.length - 1), 1);
    renumber(copy);
  }, 'unknown'),
  'a row put in, everything computed again': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const row = copy[at] as ExportRow;
    copy.splice(at, 0, { ...row, reference: `debit:forged-${random.next()}`, leg: '0' });
    renumber(copy);
  }, 'unknown'),
  'a text changed, everything computed again': forged((copy, random) => {
    changeAnything(copy, random, ['memo', 'actor', 'reference', 'link_id', 'lot_id']);
  }, 'unknown'),
  'a lot or none instead, everything computed again': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    copy[at] = {
      ...(copy[at] as ExportRow),
      lot_id: random.pick([null, random.pick(copy).lot_id, 'lot_new']),
    };
  }, 'unknown'),
  'times moved, everything computed again': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    copy[at] = { ...(copy[at] as ExportRow), created_at: anyTime(random) };
  }, 'unknown'),
  'all amounts doubled, everything computed again': forged((copy) => {
    copy.forEach((row, at) => (copy[at] = { ...row, amount_micros: `${BigInt(row.amount_micros) * 2n}` }));
  }, 'unknown'),
  'another range, everything computed again': (genuine, random) => {
    const end = { ...genuine.end };
    const member = random.pick(['from', 'to'] as const);
    end[member] = random.next() < 0.3 ? null : random.pick(genuine.rows).created_at;
    return tampered(putTogether(forgeHashes({ rows: genuine.rows, end }), genuine.format), 'unknown');
  },

  // The same forger breaks what the rows of a whole book show.
  'a credit cut to one micro-dollar': forged((copy, random) => {
    const cut = pickWhere(copy, random, (row) => openedAndSpent(copy, row));
    if (cut === null) return false;
    copy[cut] = { ...(copy[cut] as ExportRow), amount_micros: '1' };
    return true;
  }, 'refused'),
  'a lot overdrawn': forged((copy, random) => {
    const taker = pickWhere(
      copy,
      random,
      (row) => isCustomerLedgerAccount(row.debit_account) && row.lot_id !== null,
    );
    if (taker === null) return false;
    copy[taker] = { ...(copy[taker] as ExportRow), amount_micros: '900000000000000' };
    return true;
  }, 'refused'),
  'credit taken out of no lot at all': forged((copy, random) => {
    const taker = pickWhere(copy, random, (row) => isCustomerLedgerAccount(row.debit_account));
    if (taker === null) return false;
    copy[taker] = { ...(copy[taker] as ExportRow), lot_id: 'lot_nobody_opened' };
    return true;
  }, 'refused'),
  'debt of promotional credit': forged((copy, random) => {
    const taker = pickWhere(copy, random, (row) => row.debit_account === 'customer_promo');
    if (taker === null) return false;
    copy[taker] = { ...(copy[taker] as ExportRow), lot_id: null };
    return true;
  }, 'refused'),
  'a posting that no rule allows': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const row = { ...(copy[at] as ExportRow), ...forbiddenPosting(random) };
    copy[at] = row;
    return true;
  }, 'always refused'),
  'a time that no calendar has': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const time = random.pick([
      '2099-13-45T99:99:99.999Z',
      '2027-02-29T00:00:00.000Z',
      '2026-11-31T00:00:00.000Z',
      '2026-11-30T24:00:00.000Z',
      '2026-12-31T23:59:60.000Z',
      '0000-01-01T00:00:00.000Z',
      '2026-11-30T00:00:00.000z',
      '2026-11-30 00:00:00.000Z',
      '2026-11-30T00:00:00.000+00:00',
      '２026-11-30T00:00:00.000Z',
      '2026-11-30T00:00:00.000Z\n',
    ]);
    copy[at] = { ...(copy[at] as ExportRow), created_at: time };
    return true;
  }, 'always refused'),
  'a number spelt in another way': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const column = random.pick(['seq', 'amount_micros', 'posted_after_micros', 'leg'] as const);
    const was = (copy[at] as ExportRow)[column];
    const value = random.pick([
      `0${was}`,
      `+${was}`,
      `${was}.0`,
      ` ${was}`,
      `${was} `,
      `${was}\n`,
      '-0',
      '',
      '１',
    ]);
    copy[at] = { ...(copy[at] as ExportRow), [column]: value };
    return true;
  }, 'always refused'),
  'a character that is none': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    const column = random.pick(['memo', 'actor', 'link_id'] as const);
    copy[at] = { ...(copy[at] as ExportRow), [column]: `a${random.pick(['\0', '\ud83e', '\udd2a'])}b` };
    return true;
  }, 'always refused, in JSONL'),
  'a record far too long': forged((copy, random) => {
    const at = random.between(0, copy.length - 1);
    copy[at] = { ...(copy[at] as ExportRow), memo: random.pick(['x', '"', '\n', '漢']).repeat(70_000) };
    return true;
  }, 'always refused'),
};

const END_OF_NOTHING: ExportEnd = {
  rows: '',
  from: null,
  to: null,
  account: null,
  exported_at: '',
  digest: '',
};
const NULLABLE: ReadonlySet<string> = new Set(['from', 'to', 'account']);

export function tampered(text: string | Buffer, expect: Expectation): Tampered {
  return { file: Buffer.from(text), expect };
}

/** Changes rows that no one computes again; `end` makes the last line of them. */
function rows(
  change: (copy: ExportRow[], random: SeededRandom) => void,
  end: (rows: readonly ExportRow[], end: ExportEnd) => ExportEnd = (_rows, same) => same,
): Tamper {
  return (genuine, random) => {
    const copy = [...genuine.rows];
    change(copy, random);
    const text = putTogether({ rows: copy, end: end(copy, genuine.end) }, genuine.format);
    const same = text === putTogether(genuine, genuine.format);
    return same ? null : tampered(text, 'refused');
  };
}

function redigest(all: readonly ExportRow[], end: ExportEnd): ExportEnd {
  const digest = new ExportDigest();
  for (const { hash } of all) digest.add(hash);
  return digest.end(end, end.exported_at);
}

/** Changes rows and computes balances, links, hashes and the last line again. */
function forged(
  change: (copy: ExportRow[], random: SeededRandom) => boolean | void,
  expect: Expectation | 'always refused' | 'always refused, in JSONL',
): Tamper {
  return (genuine, random) => {
    const copy = [...genuine.rows];
    if (change(copy, random) === false) return null;
    // Node writes half a surrogate pair into a file as U+FFFD, which is a character.
    if (expect === 'always refused, in JSONL' && genuine.format === 'csv') return null;
    const text = putTogether(forgeHashes({ rows: rebalance(copy), end: genuine.end }), genuine.format);
    if (expect === 'refused' && !genuine.whole) return tampered(text, 'unknown');
    return tampered(text, expect === 'unknown' ? 'unknown' : 'refused');
  };
}

/** Changes the bytes of the file. */
export function bytes(change: (file: Buffer, random: SeededRandom) => Buffer): Tamper {
  return (genuine, random) =>
    tampered(change(Buffer.from(putTogether(genuine, genuine.format)), random), 'refused');
}

/** Changes the lines of the file, which come without their line feeds. */
export function lines(change: (all: string[], random: SeededRandom) => string[]): Tamper {
  return (genuine, random) => {
    const all = putTogether(genuine, genuine.format).slice(0, -1).split('\n');
    return tampered(
      change(all, random)
        .map((line) => `${line}\n`)
        .join(''),
      'refused',
    );
  };
}

/** One cell becomes something else that its column could hold. */
function changeAnything(
  copy: ExportRow[],
  random: SeededRandom,
  columns: readonly (keyof ExportRow)[] = EXPORT_COLUMNS,
): ExportRow {
  const at = random.between(0, copy.length - 1);
  const column = random.pick(columns);
  const row = { ...(copy[at] as ExportRow), [column]: otherValue(column, copy[at] as ExportRow, random) };
  copy[at] = row;
  return row;
}

function otherValue(column: keyof ExportRow, row: ExportRow, random: SeededRandom): string {
  const was = row[column];
  if (column === 'created_at') return anyTime(random);
  if (/hash$/.test(column)) return (was as string).replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  if (was !== null && /^-?\d+$/.test(was)) return `${BigInt(was) + BigInt(random.pick([1, -1, 40_000]))}`;
  if (/_account$/.test(column))
    return random.pick(Object.keys(LEDGER_ACCOUNTS).filter((name) => name !== was));
  if (column === 'kind') return random.pick(Object.keys(POSTING_RULES).filter((kind) => kind !== was));
  return random.pick([
    `${was ?? ''}x`,
    `\uFEFF${was ?? ''}`,
    `${was ?? ''}\uFEFF`,
    `'${was ?? ''}`,
    `=${was ?? ''}`,
  ]);
}

function anyTime(random: SeededRandom): string {
  return new Date(Date.UTC(2026, 9, 30) + random.between(0, 5 * 86_400_000)).toISOString();
}

/** A row that is followed by another of the same book, so that what happens to it shows. */
function notLast(copy: readonly ExportRow[], random: SeededRandom): number {
  const fit = copy.flatMap((row, at) => (copy[at + 1]?.account_id === row.account_id ? [at] : []));
  return random.pick(fit);
}

/** Without its first row, a book that begins in the middle is one that begins a row later. */
function middleOfBook(copy: readonly ExportRow[], random: SeededRandom): number {
  const isSame = (row: ExportRow, at: number): boolean => copy[at]?.account_id === row.account_id;
  return random.pick(copy.flatMap((row, at) => (isSame(row, at - 1) && isSame(row, at + 1) ? [at] : [])));
}

function lastOfBook(copy: readonly ExportRow[], random: SeededRandom): number {
  return random.pick(copy.flatMap((row, at) => (copy[at + 1]?.account_id === row.account_id ? [] : [at])));
}

function pickWhere(
  copy: readonly ExportRow[],
  random: SeededRandom,
  isFit: (row: ExportRow) => boolean,
): number | null {
  const fit = copy.flatMap((row, at) => (isFit(row) ? [at] : []));
  return fit.length === 0 ? null : random.pick(fit);
}

/** Whether a credit is spent later on, so that it cannot have been one micro-dollar. A write-off opens no lot, and may be of any. */
function openedAndSpent(copy: readonly ExportRow[], row: ExportRow): boolean {
  if (!isCustomerLedgerAccount(row.credit_account) || row.lot_id === null) return false;
  return copy.some(
    (other) =>
      other.account_id === row.account_id &&
      other.lot_id === row.lot_id &&
      isCustomerLedgerAccount(other.debit_account) &&
      BigInt(other.amount_micros) > 1n,
  );
}

function forbiddenPosting(
  random: SeededRandom,
): Pick<ExportRow, 'kind' | 'debit_account' | 'credit_account'> {
  const names = Object.keys(LEDGER_ACCOUNTS);
  for (;;) {
    const kind = random.pick([...Object.keys(POSTING_RULES), 'gift', 'constructor']);
    const [debit_account, credit_account] = [random.pick(names), random.pick(names)];
    const allowed: readonly (readonly string[])[] =
      Object.entries(POSTING_RULES).find(([name]) => name === kind)?.[1] ?? [];
    if (!allowed.some(([debit, credit]) => debit === debit_account && credit === credit_account)) {
      return { kind, debit_account, credit_account };
    }
  }
}

function renumber(copy: ExportRow[]): void {
  let before: ExportRow | null = null;
  copy.forEach((row, at) => {
    if (before?.account_id === row.account_id) {
      const seq = Number(before.seq) + 1;
      copy[at] = { ...row, seq: `${seq}`, id: transferId(row.account_id, seq) };
    }
    before = copy[at] as ExportRow;
  });
}

/** Running balances that follow from the amounts. A book that begins in the middle keeps what it began with. */
function rebalance(copy: readonly ExportRow[]): ExportRow[] {
  let before: ExportRow | null = null;
  return copy.map((row) => {
    if (![row.amount_micros, row.posted_after_micros].every((text) => /^(0|-?[1-9]\d*)$/.test(text)))
      return row;
    const posted: bigint | null =
      before?.account_id === row.account_id
        ? BigInt(before.posted_after_micros)
        : row.seq === '1'
          ? 0n
          : null;
    const balanced: ExportRow =
      posted === null ? row : { ...row, posted_after_micros: `${posted + customerEffect(row)}` };
    before = balanced;
    return balanced;
  });
}
