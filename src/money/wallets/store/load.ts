import { micros } from '../../../platform/common/money.js';
import { isCustomerLedgerAccount } from '../../ledger/chart-of-accounts.js';
import { NOW_MS, type NowRow } from '../../../platform/database/ledger-clock.js';
import type { runTogether, Statement, StatementCall } from '../../../platform/database/pipeline.js';
import type { WalletCommand } from '../rules/command.js';
import type { LoadedAccount } from '../rules/batch.js';
import { compareBurnOrder } from '../rules/lots.js';
import type { WalletLevel } from '../rules/signals.js';
import type {
  Freeze,
  FreezeSource,
  Lot,
  LotKind,
  RecordedMovement,
  Wallet,
  WalletStatus,
} from '../rules/wallet.js';
import {
  budgetsOf,
  limitingOf,
  LOAD_BUDGETS,
  LOAD_USE,
  microsOrNull,
  useOf,
  type BudgetRow,
  type UseRow,
} from './load-budgets.js';
import {
  holdsOfCalls,
  LOAD_HOLDS_BY_ID,
  LOAD_HOLDS_BY_REFERENCE,
  LOAD_HOLDS_OF_CALL,
  LOAD_LATE_HOLDS_OF_CALL,
  toHold,
  uniqueHolds,
  type HoldRow,
} from './load-holds.js';
import { LOAD_PROVIDER_KEYS, providerKeysOf, type ProviderKeyRow } from './load-provider-keys.js';
import {
  dependingOnReliefs,
  LOAD_PAYMENTS,
  LOAD_RELIEFS,
  LOAD_RETURNED,
  reliefsOf,
  toReliefs,
  toReturnedMoney,
  type PaymentRow,
  type ReliefRow,
  type ReturnedLedgerRow,
} from './load-reliefs.js';
import { Places } from './places.js';
import { ROW_BY_ROW } from './row-by-row.js';
import { msOf } from './unix-ms.js';

type WalletRow = {
  place: string;
  account_id: string;
  status: WalletStatus;
  posted_micros: string;
  held_micros: string;
  debt_micros: string;
  floor_micros: string;
  seq: string;
  head_hash: string;
  head_at_ms: string;
  top_up_mark_micros: string | null;
  low_mark_micros: string | null;
  level: WalletLevel;
} & NowRow;

/** One wallet, whoever holds its lock: for at most `lock_timeout`. */
const WAIT_FOR_WALLET: Statement = {
  name: 'wait_for_wallet',
  text: 'SELECT FROM wallets WHERE account_id = $1 FOR UPDATE',
};

/** Those that nobody else holds. A batch that waited for one of its wallets would stop all others. */
const LOCK_WALLETS: Statement = {
  name: 'lock_wallets',
  text: `
  SELECT ctid AS place, account_id, status, posted_micros, held_micros, debt_micros, floor_micros, seq,
         encode(head_hash, 'hex') AS head_hash, ${msOf('head_at')} AS head_at_ms,
         top_up_mark_micros, low_mark_micros, level, (SELECT ${NOW_MS})
    FROM wallets WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR UPDATE SKIP LOCKED`,
};

type LotRow = {
  place: string;
  account_id: string;
  id: string;
  kind: LotKind;
  source: string;
  refundable: boolean;
  granted_micros: string;
  remaining_micros: string;
  priority: number;
  expires_at_ms: string | null;
  created_at_ms: string;
};

const LOAD_LOTS: Statement = {
  name: 'load_lots',
  text: `
  SELECT ctid AS place, account_id, id, kind, source, refundable, granted_micros, remaining_micros, priority,
         ${msOf('expires_at')} AS expires_at_ms, ${msOf('created_at')} AS created_at_ms
    FROM credit_lots WHERE account_id = ANY($1::text[]) AND live`,
};

type FreezeRow = {
  account_id: string;
  id: string;
  source: FreezeSource;
  source_id: string;
  reason: string;
  actor: string;
  created_at_ms: string;
};

const LOAD_FREEZES: Statement = {
  name: 'load_freezes',
  text: `
  SELECT account_id, id, source, source_id, reason, actor, ${msOf('created_at')} AS created_at_ms
    FROM wallet_freezes WHERE account_id = ANY($1::text[]) AND lifted_at IS NULL`,
};

/** One leg of a movement. */
type RecordedRow = {
  account_id: string;
  reference: string;
  link_id: string;
  id: string;
  seq: string;
  debit_account: string;
  credit_account: string;
  amount_micros: string;
  memo: string | null;
  created_at_ms: string;
};

const LOAD_RECORDED: Statement = {
  name: 'load_recorded',
  text: `
  SELECT t.* FROM unnest($1::text[], $2::text[]) AS named (account_id, reference), LATERAL (
    SELECT t.account_id, t.reference, t.link_id, t.id, t.seq, t.debit_account, t.credit_account, t.amount_micros, t.memo,
           ${msOf('t.created_at')} AS created_at_ms
      FROM transfers t WHERE t.account_id = named.account_id AND t.reference = named.reference ${ROW_BY_ROW}) AS t`,
};

export type Loaded = {
  readonly accounts: ReadonlyMap<string, LoadedAccount>;
  readonly places: Places;
  /** When the wallets were locked. */
  readonly now: NowRow | undefined;
};

/**
 * Begins a tx, locks the wallets that can be had, and loads what the commands may depend on. All of it is one round trip: the
 * server runs the statements one after the other, each with a snapshot of its own, so what is read behind the lock
 * is what the lock protects. Accounts without a wallet row are missing in the answer, and so are those whose wallet
 * somebody else holds.
 *
 * @param waitFor the one wallet whose lock is waited for, before any other is taken: who waits holds nothing, so batches never
 *   deadlock.
 */
export async function lockAndLoad(
  send: (calls: readonly StatementCall[]) => ReturnType<typeof runTogether>,
  begin: StatementCall,
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
  waitFor: string | null,
): Promise<Loaded> {
  const limiting = limitingOf(commands);
  const calls = callsFor(accountIds, commands, limiting, waitFor);
  const answers = (await send([begin, ...calls])).slice(1);
  const rowsOf = <Row>(...statements: readonly Statement[]): Row[] =>
    calls.flatMap(({ statement }, index) =>
      statements.includes(statement) ? ((answers[index] ?? []) as Row[]) : [],
    );
  const wallets = rowsOf<WalletRow>(LOCK_WALLETS);
  const lotRows = rowsOf<LotRow>(LOAD_LOTS);
  const lots = groupByAccount(lotRows);
  const holds = groupByAccount(
    rowsOf<HoldRow>(LOAD_HOLDS_BY_ID, LOAD_HOLDS_BY_REFERENCE, LOAD_HOLDS_OF_CALL, LOAD_LATE_HOLDS_OF_CALL),
  );
  const budgets = groupByAccount(
    rowsOf<BudgetRow & { account_id: string; budget_key_id: string | null }>(
      LOAD_BUDGETS,
      LOAD_HOLDS_BY_ID,
    ).filter((row) => row.budget_key_id !== null),
  );
  const uses = rowsOf<UseRow>(LOAD_USE);
  const freezes = groupByAccount(rowsOf<FreezeRow>(LOAD_FREEZES));
  const depending = dependingOnReliefs(commands);
  const reliefs = groupByAccount(rowsOf<ReliefRow>(LOAD_RELIEFS));
  const returned = groupByAccount(rowsOf<ReturnedLedgerRow>(LOAD_RETURNED));
  const payments = groupByAccount(rowsOf<PaymentRow>(LOAD_PAYMENTS));
  const providerKeys = groupByAccount(rowsOf<ProviderKeyRow>(LOAD_PROVIDER_KEYS));
  const recorded = groupByAccount(rowsOf<RecordedRow>(LOAD_RECORDED));
  const accounts = new Map(
    wallets.map((row) => [
      row.account_id,
      {
        wallet: toWallet(row, lots.get(row.account_id) ?? []),
        watch: {
          topUpMarkMicros: microsOrNull(row.top_up_mark_micros),
          lowMarkMicros: microsOrNull(row.low_mark_micros),
          level: row.level,
        },
        holds: uniqueHolds((holds.get(row.account_id) ?? []).map(toHold)),
        budgets: budgetsOf(row.account_id, limiting, budgets.get(row.account_id) ?? [], uses),
        freezes: toFreezes(freezes.get(row.account_id) ?? []),
        reliefs: toReliefs(reliefs.get(row.account_id)),
        returned: depending.has(row.account_id)
          ? toReturnedMoney(returned.get(row.account_id), payments.get(row.account_id))
          : null,
        ownKeyProviders: toProviders(providerKeys.get(row.account_id)),
        recorded: toRecorded(recorded.get(row.account_id) ?? []),
      },
    ]),
  );
  return { accounts, places: placesOf(wallets, lotRows), now: wallets[0] };
}

const NO_PROVIDERS: ReadonlySet<string> = new Set();

function toProviders(rows: readonly ProviderKeyRow[] | undefined): ReadonlySet<string> {
  return rows === undefined ? NO_PROVIDERS : new Set(rows.map(({ provider }) => provider));
}

/** The wallets before what they protect. */
function callsFor(
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
  limiting: ReturnType<typeof limitingOf>,
  waitFor: string | null,
): StatementCall[] {
  return [
    ...(waitFor === null ? [] : [{ statement: WAIT_FOR_WALLET, values: [waitFor] }]),
    { statement: LOCK_WALLETS, values: [accountIds] },
    { statement: LOAD_LOTS, values: [accountIds] },
    ...namedBy(LOAD_HOLDS_BY_ID, commands, (command) =>
      'holdId' in command && command.type !== 'authorize' ? command.holdId : null,
    ),
    ...namedBy(LOAD_HOLDS_BY_REFERENCE, commands, (command) =>
      command.type === 'authorize' ? command.reference : null,
    ),
    ...holdsOfCalls(commands),
    ...namedBy(LOAD_BUDGETS, commands, (command) => ('keyId' in command ? command.keyId : null)),
    ...useOf(limiting),
    ...freezesOf(commands),
    ...reliefsOf(commands),
    ...providerKeysOf(commands),
    ...namedBy(LOAD_RECORDED, commands, (command) =>
      'reference' in command && command.type !== 'authorize' ? command.reference : null,
    ),
  ];
}

/** The call that loads the freezes of the accounts whose commands may change them; most batches have none. */
function freezesOf(commands: readonly WalletCommand[]): StatementCall[] {
  const changing = commands.filter(
    (command) =>
      command.type === 'freeze' ||
      command.type === 'unfreeze' ||
      (command.type === 'clawBack' && command.freeze !== null),
  );
  if (changing.length === 0) return [];
  const accountIds = [...new Set(changing.map(({ accountId }) => accountId))];
  return [{ statement: LOAD_FREEZES, values: [accountIds] }];
}

type NameOf = (command: WalletCommand) => string | readonly string[] | null;

/** The call that loads what the commands name, once each; none when they name nothing. */
function namedBy(
  statement: Statement,
  commands: readonly WalletCommand[],
  ...namesOf: readonly NameOf[]
): StatementCall[] {
  const accountIds: string[] = [];
  const names: string[] = [];
  const seen = new Set<string>();
  for (const command of commands) {
    for (const nameOf of namesOf) {
      const named = nameOf(command);
      for (const name of typeof named === 'string' ? [named] : (named ?? [])) {
        // Account ids hold no newline, so the joined key is unambiguous.
        const key = `${command.accountId}\n${name}`;
        if (seen.has(key)) continue;
        seen.add(key);
        accountIds.push(command.accountId);
        names.push(name);
      }
    }
  }
  return names.length === 0 ? [] : [{ statement, values: [accountIds, names] }];
}

function groupByAccount<Row extends { account_id: string }>(rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.account_id);
    if (group) group.push(row);
    else groups.set(row.account_id, [row]);
  }
  return groups;
}

function placesOf(wallets: readonly WalletRow[], lots: readonly LotRow[]): Places {
  const places = new Places();
  for (const row of wallets) places.addWallet(row.account_id, row.place);
  for (const row of lots) places.addLot(row.account_id, row.id, row.place);
  return places;
}

function toWallet(row: WalletRow, lots: readonly LotRow[]): Wallet {
  return {
    accountId: row.account_id,
    status: row.status,
    postedMicros: micros(BigInt(row.posted_micros)),
    heldMicros: micros(BigInt(row.held_micros)),
    debtMicros: micros(BigInt(row.debt_micros)),
    floorMicros: micros(BigInt(row.floor_micros)),
    seq: Number(row.seq),
    headHash: row.head_hash,
    headAtMs: Number(row.head_at_ms),
    lots: lots.map(toLot).sort(compareBurnOrder),
  };
}

function toLot(row: LotRow): Lot {
  return {
    id: row.id,
    kind: row.kind,
    source: row.source,
    refundable: row.refundable,
    grantedMicros: micros(BigInt(row.granted_micros)),
    remainingMicros: micros(BigInt(row.remaining_micros)),
    priority: row.priority,
    expiresAtMs: row.expires_at_ms === null ? null : Number(row.expires_at_ms),
    createdAtMs: Number(row.created_at_ms),
  };
}

/** Oldest first. */
function toFreezes(rows: readonly FreezeRow[]): Freeze[] {
  return rows.map(toFreeze).sort((a, b) => a.createdAtMs - b.createdAtMs);
}

function toFreeze(row: FreezeRow): Freeze {
  return {
    id: row.id,
    source: row.source,
    sourceId: row.source_id,
    reason: row.reason,
    actor: row.actor,
    createdAtMs: Number(row.created_at_ms),
    liftedAtMs: null,
    liftedBy: null,
    liftedReason: null,
  };
}

const NOTHING_RECORDED: ReadonlyMap<string, RecordedMovement> = new Map();

/** By reference; the first leg has the least id, and the amount is what the customer's ledger accounts saw of all. */
function toRecorded(legs: readonly RecordedRow[]): ReadonlyMap<string, RecordedMovement> {
  if (legs.length === 0) return NOTHING_RECORDED;
  const movements = new Map<string, RecordedMovement>();
  for (const leg of [...legs].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const first = movements.get(leg.reference);
    const isCustomers =
      isCustomerLedgerAccount(leg.debit_account) || isCustomerLedgerAccount(leg.credit_account);
    const legMicros = isCustomers ? BigInt(leg.amount_micros) : 0n;
    movements.set(leg.reference, {
      linkId: first?.linkId ?? leg.link_id,
      transferId: first?.transferId ?? leg.id,
      seq: first?.seq ?? Number(leg.seq),
      amountMicros: micros((first?.amountMicros ?? 0n) + legMicros),
      memo: first === undefined ? leg.memo : first.memo,
      createdAtMs: first?.createdAtMs ?? Number(leg.created_at_ms),
    });
  }
  return movements;
}
