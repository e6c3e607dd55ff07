import { cents, MICROS_PER_CENT } from '../../../platform/common/money.js';
import { compareBytes } from '../../../money/ledger/byte-order.js';
import { ChainWalk } from '../../../money/ledger/chain-walk.js';
import { LotReplay } from '../../../money/ledger/lot-replay.js';
import type { Snapshot, TextRow } from '../../../platform/database/snapshot.js';
import { toExportedTransfer, TRANSFER_COLUMNS } from '../../../money/ledger/transfer-row.js';
import { GENESIS_HASH, type ExportedTransfer } from '../../../money/ledger/transfer.js';
import type { Parts } from '../../../money/wallets/rules/payment-parts.js';
import { AccountGroups } from './account-groups.js';
import { formatKey, type ProofCounts, type Report } from './discrepancy.js';
import { ReliefReplay, type ReliefFault, type StoredReliefs } from './relief-replay.js';

const TRANSFERS = `SELECT ${TRANSFER_COLUMNS} FROM transfers t ORDER BY t.account_id, t.seq`;

/** The wallet's columns that follow from its chain, in the order of WALLET_COLUMNS. */
const WALLETS = `
  SELECT account_id, posted_micros, debt_micros, seq, encode(head_hash, 'hex'),
         to_char(head_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    FROM wallets ORDER BY account_id`;
const WALLET_COLUMNS = ['posted_micros', 'debt_micros', 'seq', 'head_hash', 'head_at'] as const;

const LIVE_LOTS = `
  SELECT account_id, id, remaining_micros FROM credit_lots WHERE remaining_micros <> 0 ORDER BY account_id, id`;

/**
 * Paid credit that goes to no card: the lots, and what paid debt with such credit or was written off, by row. Whether an earlier
 * release gave something up, by other rules. And the payment of each refund and dispute, which the ledger does not say.
 */
const GIVEN = `
  SELECT account_id, 'lot', id, NULL, NULL FROM credit_lots WHERE kind = 'paid' AND NOT refundable
   UNION ALL
  SELECT account_id, kind, seq::text, owed_beside_micros::text, undone_micros::text FROM debt_reliefs
   UNION ALL
  SELECT account_id, 'carried_over', NULL, NULL, NULL FROM reliefs_carried_over
   UNION ALL
  SELECT s.account_id, 'payment', s.source, u.id, concat_ws(' ', u.credit_micros, u.fee_micros, coalesce(u.tax_micros, 0))
    FROM (SELECT account_id, 'dispute:' || id AS source, top_up_id FROM disputes
          UNION ALL SELECT account_id, 'refund:' || id, top_up_id FROM refunds) s
    JOIN top_ups u ON u.account_id = s.account_id AND u.id = s.top_up_id
   ORDER BY 1`;

/** One account's chain while its rows go by. */
class AccountReplay {
  readonly lots = new LotReplay();
  private readonly walk: ChainWalk;
  private readonly reliefs: ReliefReplay;
  private readonly storedReliefs: StoredReliefs;
  private last: ExportedTransfer | null = null;

  constructor(
    readonly accountId: string,
    given: readonly TextRow[],
    private readonly report: Report,
  ) {
    this.walk = new ChainWalk(accountId, 'first_row');
    const named = (kind: string): ReadonlySet<string> =>
      new Set(given.filter((row) => row[1] === kind).map((row) => String(row[2])));
    this.storedReliefs = new Map(
      given
        .filter((row) => row[1] === 'write_off' || row[1] === 'given_credit')
        .map(([, , seq, otherDebt, undone]) => [
          String(seq),
          { otherDebt: BigInt(otherDebt ?? 0), undone: BigInt(undone ?? 0) },
        ]),
    );
    const links = new Map(
      given
        .filter((row) => row[1] === 'payment')
        .map(([, , source, payment, paid]) => [
          String(source),
          { payment: String(payment), paid: toParts(String(paid)) },
        ]),
    );
    const isExact = !given.some((row) => row[1] === 'carried_over');
    this.reliefs = new ReliefReplay(named('lot'), named('given_credit'), isExact, links);
  }

  next(row: ExportedTransfer): void {
    const fault = this.walk.next(row);
    const debtBefore = this.lots.debt;
    const lotFault = this.lots.next(row);
    const found = fault ?? lotFault;
    if (found !== null) {
      const key = formatKey({ account_id: this.accountId, seq: row.seq });
      this.report({ table: 'transfers', key, ...found });
    }
    this.reportRelief(this.reliefs.next(row, debtBefore, this.lots.debt));
    this.last = row;
  }

  end(): void {
    this.reportRelief(this.reliefs.end());
    for (const { seq, ...found } of this.reliefs.differences(this.storedReliefs)) {
      this.report({ table: 'debt_reliefs', key: formatKey({ account_id: this.accountId, seq }), ...found });
    }
  }

  private reportRelief(fault: ReliefFault | null): void {
    if (fault === null) return;
    const { seq, ...found } = fault;
    this.report({ table: 'transfers', key: formatKey({ account_id: this.accountId, seq }), ...found });
  }

  /** What the wallet row must say. */
  get head(): Record<(typeof WALLET_COLUMNS)[number], string> {
    return {
      posted_micros: this.lots.posted.toString(),
      debt_micros: this.lots.debt.toString(),
      seq: this.last?.seq ?? '0',
      head_hash: this.last?.hash ?? GENESIS_HASH,
      head_at: this.last?.created_at ?? '1970-01-01T00:00:00.000Z',
    };
  }
}

/** Credit, fee and tax of a payment, which are whole cents. */
function toParts(paid: string): Parts {
  const [creditCents, feeCents, taxCents] = paid
    .split(' ')
    .map((part) => cents(BigInt(part) / MICROS_PER_CENT));
  if (creditCents === undefined || feeCents === undefined || taxCents === undefined)
    throw new Error(`${paid} are not the parts of a payment`);
  return { creditCents, feeCents, taxCents };
}

/**
 * Reads the whole ledger once, in chain order, together with the wallets and the live lots: recomputes every hash
 * and every balance, and compares what it comes to with what the wallets and lots say.
 */
export async function proveChains(snapshot: Snapshot, report: Report, counts: ProofCounts): Promise<void> {
  const wallets = new AccountGroups(snapshot.stream(WALLETS));
  const liveLots = new AccountGroups(snapshot.stream(LIVE_LOTS));
  const given = new AccountGroups(snapshot.stream(GIVEN));
  const begin = async (id: string): Promise<AccountReplay> =>
    new AccountReplay(id, await given.takeUpTo(id), report);
  const finish = async (replay: AccountReplay | null): Promise<void> => {
    await proveUntouched(wallets, liveLots, replay?.accountId ?? null, report, counts);
    replay?.end();
    if (replay !== null) await proveAccount(wallets, liveLots, replay, report, counts);
  };
  let replay: AccountReplay | null = null;
  for await (const batch of snapshot.stream(TRANSFERS)) {
    for (const stored of batch) {
      const row = toExportedTransfer(stored);
      replay ??= await begin(row.account_id);
      if (replay.accountId !== row.account_id) {
        await finish(replay);
        replay = await begin(row.account_id);
      }
      replay.next(row);
    }
    counts.transfers += batch.length;
  }
  if (replay !== null) await finish(replay);
  await finish(null);
}

/** Accounts before `until` have wallets or lots but no row in the ledger, so all must be as they began. */
async function proveUntouched(
  wallets: AccountGroups,
  liveLots: AccountGroups,
  until: string | null,
  report: Report,
  counts: ProofCounts,
): Promise<void> {
  for (;;) {
    const waiting = [await wallets.peek(), await liveLots.peek()].filter((id) => id !== null);
    const [accountId] = waiting.sort(compareBytes);
    if (accountId === undefined || (until !== null && compareBytes(accountId, until) >= 0)) return;
    await proveAccount(wallets, liveLots, new AccountReplay(accountId, [], report), report, counts);
  }
}

async function proveAccount(
  wallets: AccountGroups,
  liveLots: AccountGroups,
  replay: AccountReplay,
  report: Report,
  counts: ProofCounts,
): Promise<void> {
  counts.accounts += 1;
  const key = formatKey({ account_id: replay.accountId });
  const { head } = replay;
  const [wallet] = await wallets.take(replay.accountId);
  if (wallet === undefined) {
    const expected = `a wallet for a chain of ${head.seq} rows`;
    report({ table: 'wallets', key, column: 'account_id', expected, found: 'none' });
  } else {
    counts.wallets += 1;
    WALLET_COLUMNS.forEach((column, index) => {
      const found = wallet[index + 1] ?? 'null';
      if (found !== head[column]) report({ table: 'wallets', key, column, expected: head[column], found });
    });
  }
  compareLots(await liveLots.take(replay.accountId), replay, report);
}

function compareLots(stored: readonly TextRow[], replay: AccountReplay, report: Report): void {
  const expected = new Map([...replay.lots.live].map(([id, lot]) => [id, String(lot.remaining)]));
  const differs = (id: string, wanted: string, found: string): void => {
    const key = formatKey({ account_id: replay.accountId, id });
    report({ table: 'credit_lots', key, column: 'remaining_micros', expected: wanted, found });
  };
  for (const row of stored) {
    const [, id, remaining] = row as readonly string[] as [string, string, string];
    const wanted = expected.get(id) ?? '0';
    expected.delete(id);
    if (wanted !== remaining) differs(id, wanted, remaining);
  }
  // What the ledger left something in and the table shows as spent, or does not have at all.
  for (const [id, wanted] of expected) differs(id, wanted, '0');
}
