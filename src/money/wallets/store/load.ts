import { micros, type MicroUsd } from '../../../platform/common/money.js';
import { NOW_MS, type NowRow } from '../../../platform/database/ledger-clock.js';
import type { runTogether, Statement, StatementCall } from '../../../platform/database/pipeline.js';
import { isCustomerLedgerAccount } from '../../ledger/transfer.js';
import type { LoadedAccount, WalletLevel } from '../rules/batch.js';
import type { AuthorizeCommand, SetKeyBudgetCommand, WalletCommand } from '../rules/command.js';
import { compareBurnOrder } from '../rules/draft.js';
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
  LOAD_BUDGETS,
  LOAD_USE,
  toBudgets,
  toUseCall,
  type LoadedBudgetRow,
  type UseRow,
} from './load-budgets.js';
import {
  LOAD_HOLDS_BY_ID,
  LOAD_HOLDS_BY_REFERENCE,
  LOAD_HOLDS_OF_CALL,
  LOAD_LATE_HOLDS_OF_CALL,
  toHolds,
  toHoldsOfCallsCalls,
  type HoldRow,
} from './load-holds.js';
import {
  LOAD_PAYMENTS,
  LOAD_RELIEFS,
  LOAD_RETURNED,
  toRelief,
  toReturnedMoney,
  type PaymentRow,
  type ReliefRow,
  type ReturnedLedgerRow,
} from './load-reliefs.js';
import { ROW_BY_ROW, toUnixMs } from './sql.js';

export type Loaded = {
  readonly accounts: ReadonlyMap<string, LoadedAccount>;
  readonly locations: RowLocations;
  /** When the wallets were locked. */
  readonly now: NowRow | undefined;
};

/**
 * Begins a tx, locks the wallets that are free, and loads what the commands may depend on. All of it is one round trip: the
 * server runs the statements one after the other, each with a snapshot of its own, so everything that is read after the lock
 * is what the lock protects. Accounts without a wallet row are missing in the answer, and so are those whose wallet
 * another session has locked.
 *
 * @param waitFor the one wallet whose lock is waited for, before any other lock is taken: a batch that waits holds nothing, so
 *   batches never deadlock.
 */
export async function lockAndLoad(
  send: (calls: readonly StatementCall[]) => ReturnType<typeof runTogether>,
  begin: StatementCall,
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
  waitFor: string | null,
): Promise<Loaded> {
  const needs = findNeeds(commands);
  const calls = toCalls(accountIds, commands, needs, waitFor);
  const answers = (await send([begin, ...calls])).slice(1);
  const getRows = <Row extends { account_id: string }>(...statements: readonly Statement[]): Row[] =>
    calls.flatMap(({ statement }, index) =>
      statements.includes(statement) ? ((answers[index] ?? []) as Row[]) : [],
    );
  const group = <Row extends { account_id: string }>(...statements: readonly Statement[]) =>
    groupByAccount(getRows<Row>(...statements));
  const wallets = getRows<WalletRow>(LOCK_WALLETS);
  const lotRows = getRows<LotRow>(LOAD_LOTS);
  const lots = groupByAccount(lotRows);
  const holds = group<HoldRow>(
    LOAD_HOLDS_BY_ID,
    LOAD_HOLDS_BY_REFERENCE,
    LOAD_HOLDS_OF_CALL,
    LOAD_LATE_HOLDS_OF_CALL,
  );
  const budgets = group<LoadedBudgetRow>(LOAD_BUDGETS, LOAD_HOLDS_BY_ID);
  const uses = getRows<UseRow>(LOAD_USE);
  const freezes = group<FreezeRow>(LOAD_FREEZES);
  const reliefs = group<ReliefRow>(LOAD_RELIEFS);
  const returned = group<ReturnedLedgerRow>(LOAD_RETURNED);
  const payments = group<PaymentRow>(LOAD_PAYMENTS);
  const providerKeys = group<ProviderKeyRow>(LOAD_PROVIDER_KEYS);
  const recorded = group<RecordedRow>(LOAD_RECORDED);
  const toAccount = (row: WalletRow): LoadedAccount => {
    const id = row.account_id;
    const holdRows = holds.get(id);
    const budgetRows = budgets.get(id);
    const isLimited = budgetRows !== undefined || needs.limiting.length > 0;
    return {
      wallet: toWallet(row, lots.get(id) ?? NONE),
      watch: {
        topUpThresholdMicros: toMicrosOrNull(row.top_up_mark_micros),
        lowThresholdMicros: toMicrosOrNull(row.low_mark_micros),
        level: row.level,
      },
      holds: holdRows === undefined ? NONE : toHolds(holdRows),
      budgets: isLimited ? toBudgets(id, needs.limiting, budgetRows ?? NONE, uses) : NONE,
      freezes: toFreezes(freezes.get(id) ?? NONE),
      reliefs: reliefs.get(id)?.map(toRelief) ?? NONE,
      returned: needs.returnedMoneyAccounts.has(id)
        ? toReturnedMoney(returned.get(id), payments.get(id))
        : null,
      ownKeyProviders: toProviders(providerKeys.get(id)),
      recorded: toRecorded(recorded.get(id) ?? NONE),
    };
  };
  const accounts = new Map(wallets.map((row) => [row.account_id, toAccount(row)]));
  return { accounts, locations: toLocations(wallets, lotRows), now: wallets[0] };
}

const NONE: readonly never[] = [];

/** What a few commands depend on in addition to what they name. Most batches need none of it, and do not ask for it. */
type Needs = {
  /** The first command that limits each key. Its count of what the key has used is as good as that of the others. */
  readonly limiting: readonly SetKeyBudgetCommand[];
  /** Attempts at calls that may have other attempts. */
  readonly attempts: readonly AuthorizeCommand[];
  /** Accounts whose commands may change why the wallet is frozen. */
  readonly freezeAccounts: ReadonlySet<string>;
  /** Accounts whose commands depend on debt reliefs, refunds and disputes. */
  readonly returnedMoneyAccounts: ReadonlySet<string>;
  /** Accounts whose calls cost the wallet nothing where the account has a key of its own. */
  readonly providerKeyAccounts: ReadonlySet<string>;
};

function findNeeds(commands: readonly WalletCommand[]): Needs {
  const limiting = new Map<string, SetKeyBudgetCommand>();
  const attempts: AuthorizeCommand[] = [];
  const freezeAccounts = new Set<string>();
  const returnedMoneyAccounts = new Set<string>();
  const providerKeyAccounts = new Set<string>();
  for (const command of commands) {
    const { accountId } = command;
    switch (command.type) {
      case 'authorize':
        if (command.attempt != null && command.keyId !== null) attempts.push(command);
        if ((command.unlessOwnKeyAt ?? NONE).length > 0) providerKeyAccounts.add(accountId);
        break;
      case 'setKeyBudget': {
        const key = joinKey(accountId, command.keyId);
        if (!limiting.has(key)) limiting.set(key, command);
        break;
      }
      case 'freeze':
      case 'unfreeze':
        freezeAccounts.add(accountId);
        break;
      case 'reverseCredit':
        if (command.freeze !== null) freezeAccounts.add(accountId);
        break;
      case 'reinstate':
      case 'writeOff':
        returnedMoneyAccounts.add(accountId);
        break;
      default:
    }
  }
  return {
    limiting: [...limiting.values()],
    attempts,
    freezeAccounts,
    returnedMoneyAccounts,
    providerKeyAccounts,
  };
}

/** The calls that lock the wallets, followed by those that read what the locks protect. */
function toCalls(
  accountIds: readonly string[],
  commands: readonly WalletCommand[],
  needs: Needs,
  waitFor: string | null,
): StatementCall[] {
  const { limiting, attempts } = needs;
  return [
    ...(waitFor === null ? [] : [{ statement: WAIT_FOR_WALLET, values: [waitFor] }]),
    { statement: LOCK_WALLETS, values: [accountIds] },
    { statement: LOAD_LOTS, values: [accountIds] },
    ...toNamedCall(LOAD_HOLDS_BY_ID, commands, (command) =>
      'holdId' in command && command.type !== 'authorize' ? command.holdId : null,
    ),
    ...toNamedCall(LOAD_HOLDS_BY_REFERENCE, commands, (command) =>
      command.type === 'authorize' ? command.reference : null,
    ),
    ...(attempts.length === 0 ? [] : toHoldsOfCallsCalls(attempts)),
    ...toNamedCall(LOAD_BUDGETS, commands, (command) => ('keyId' in command ? command.keyId : null)),
    ...(limiting.length === 0 ? [] : [toUseCall(limiting)]),
    ...toAccountsCalls(needs.freezeAccounts, LOAD_FREEZES),
    ...toAccountsCalls(needs.returnedMoneyAccounts, LOAD_RELIEFS, LOAD_RETURNED, LOAD_PAYMENTS),
    ...toAccountsCalls(needs.providerKeyAccounts, LOAD_PROVIDER_KEYS),
    ...toNamedCall(LOAD_RECORDED, commands, (command) =>
      'reference' in command && command.type !== 'authorize' ? command.reference : null,
    ),
  ];
}

function toAccountsCalls(
  accountIds: ReadonlySet<string>,
  ...statements: readonly Statement[]
): StatementCall[] {
  if (accountIds.size === 0) return [];
  const values = [[...accountIds]];
  return statements.map((statement) => ({ statement, values }));
}

/** The call that loads what the commands name, each name once; none when they name nothing. */
function toNamedCall(
  statement: Statement,
  commands: readonly WalletCommand[],
  findName: (command: WalletCommand) => string | null,
): StatementCall[] {
  const accountIds: string[] = [];
  const names: string[] = [];
  const seen = new Set<string>();
  for (const command of commands) {
    const name = findName(command);
    if (name === null) continue;
    const key = joinKey(command.accountId, name);
    if (seen.has(key)) continue;
    seen.add(key);
    accountIds.push(command.accountId);
    names.push(name);
  }
  return names.length === 0 ? [] : [{ statement, values: [accountIds, names] }];
}

/** Account ids contain no newline, so the joined key is unambiguous. */
function joinKey(accountId: string, name: string): string {
  return `${accountId}\n${name}`;
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

type WalletRow = {
  location: string;
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

/** Waits for the lock of one wallet, for at most `lock_timeout`. */
const WAIT_FOR_WALLET: Statement = {
  name: 'wait_for_wallet',
  text: 'SELECT FROM wallets WHERE account_id = $1 FOR UPDATE',
};

/** Skips wallets that another session has locked: a batch that waited for one of its wallets would stop all the others. */
const LOCK_WALLETS: Statement = {
  name: 'lock_wallets',
  text: `
  SELECT ctid AS location, account_id, status, posted_micros, held_micros, debt_micros, floor_micros, seq,
         encode(head_hash, 'hex') AS head_hash, ${toUnixMs('head_at')} AS head_at_ms,
         top_up_mark_micros, low_mark_micros, level, (SELECT ${NOW_MS})
    FROM wallets WHERE account_id = ANY($1::text[]) ORDER BY account_id FOR UPDATE SKIP LOCKED`,
};

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

function toMicrosOrNull(text: string | null): MicroUsd | null {
  return text === null ? null : micros(BigInt(text));
}

type LotRow = {
  location: string;
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
  SELECT ctid AS location, account_id, id, kind, source, refundable, granted_micros, remaining_micros, priority,
         ${toUnixMs('expires_at')} AS expires_at_ms, ${toUnixMs('created_at')} AS created_at_ms
    FROM credit_lots WHERE account_id = ANY($1::text[]) AND live`,
};

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
  SELECT account_id, id, source, source_id, reason, actor, ${toUnixMs('created_at')} AS created_at_ms
    FROM wallet_freezes WHERE account_id = ANY($1::text[]) AND lifted_at IS NULL`,
};

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
           ${toUnixMs('t.created_at')} AS created_at_ms
      FROM transfers t WHERE t.account_id = named.account_id AND t.reference = named.reference ${ROW_BY_ROW}) AS t`,
};

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

/** Providers at which an account has a live key of its own. Most accounts have none, so most look-ups end in the index. */
const LOAD_PROVIDER_KEYS: Statement = {
  name: 'load_provider_keys',
  text: `
  SELECT account_id, provider FROM provider_keys WHERE account_id = ANY($1::text[]) AND removed_at IS NULL`,
};

type ProviderKeyRow = { account_id: string; provider: string };

const NO_PROVIDERS: ReadonlySet<string> = new Set();

function toProviders(rows: readonly ProviderKeyRow[] | undefined): ReadonlySet<string> {
  return rows === undefined ? NO_PROVIDERS : new Set(rows.map(({ provider }) => provider));
}

/**
 * Where a batch found the rows that it locked: their `ctid`. Nothing moves them before the batch ends. Only the holder of the
 * wallet's lock writes a new version of a row, and a statement that rewrites a whole table waits for every tx that has read it.
 * So the batch updates the rows at their locations, and the server does not have to find each of them a second time.
 */
export class RowLocations {
  private readonly wallets = new Map<string, string>();
  private readonly lots = new Map<string, string>();

  addWallet(accountId: string, location: string): void {
    this.wallets.set(accountId, location);
  }

  addLot(accountId: string, id: string, location: string): void {
    this.lots.set(joinKey(accountId, id), location);
  }

  getWallet(accountId: string): string {
    return requireLocation(this.wallets.get(accountId), accountId);
  }

  getLot(accountId: string, id: string): string {
    return requireLocation(this.lots.get(joinKey(accountId, id)), id);
  }
}

function requireLocation(location: string | undefined, id: string): string {
  if (location === undefined) throw new Error(`${id} is changed, but was not loaded`);
  return location;
}

function toLocations(wallets: readonly WalletRow[], lots: readonly LotRow[]): RowLocations {
  const locations = new RowLocations();
  for (const row of wallets) locations.addWallet(row.account_id, row.location);
  for (const row of lots) locations.addLot(row.account_id, row.id, row.location);
  return locations;
}
