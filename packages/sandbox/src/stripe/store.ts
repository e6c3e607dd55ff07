import type {
  BalanceTransaction,
  Charge,
  CheckoutSession,
  Customer,
  Event,
  Invoice,
  LineItem,
  PaymentIntent,
  PaymentMethod,
  WebhookEndpoint,
} from './objects.js';
import type { Dispute, EarlyFraudWarning, Payout, Refund } from './money-out-objects.js';
import { readStateFile, StateFile } from './state-file.js';

/** What `payment_intent_data` asked for; it becomes the PaymentIntent when the customer pays. */
export type PaymentIntentData = {
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly receiptEmail: string | null;
  readonly setupFutureUsage: 'off_session' | 'on_session' | null;
  readonly statementDescriptor: string | null;
  readonly statementDescriptorSuffix: string | null;
};

/** A session, and what its own members do not show. */
export type CheckoutSessionRecord = {
  readonly id: string;
  readonly object: CheckoutSession;
  readonly lineItems: readonly LineItem[];
  readonly paymentIntentData: PaymentIntentData;
  /** `customer_update[address]=auto`: the address that is typed becomes the customer's. */
  readonly keepsAddress: boolean;
};

/** A card of somebody, and what its own members do not show. */
export type PaymentMethodRecord = {
  readonly id: string;
  readonly object: PaymentMethod;
  /** One of the test cards' numbers: it decides what happens when the card is charged. */
  readonly cardNumber: string;
  /** The customer authenticated while it was saved, so the issuer accepts later payments without asking them. */
  readonly isSetUpOffSession: boolean;
  /** Charged without belonging to a customer, or detached from one: Stripe never charges it again. */
  readonly isUsedUp: boolean;
};

/** What is going to happen to a refund or dispute by itself; `id` is the object's. */
export type PlannedOutcome = {
  readonly id: string;
  readonly dueAtMs: number;
  readonly outcome: 'escalated' | 'failed' | 'lost' | 'succeeded' | 'warning_closed' | 'won';
};

/** The API's payout, and the balance transactions that it carried away. */
export type PayoutRecord = {
  readonly id: string;
  readonly object: Payout;
  readonly transactionIds: readonly string[];
};

/** The signing secret is shown once, in the answer to the creation, as at Stripe. */
export type WebhookEndpointRecord = {
  readonly id: string;
  readonly object: WebhookEndpoint;
  readonly secret: string;
};

/**
 * One event on its way to one endpoint. `pending` is tried again, `delivered` had a 2xx, `failed` ran out
 * of attempts, and `lost` is the fault that Stripe's gap-filling events list exists for.
 */
export type WebhookDelivery = {
  readonly id: string;
  readonly eventId: string;
  readonly endpointId: string;
  readonly state: 'delivered' | 'failed' | 'lost' | 'pending';
  readonly attempts: number;
  readonly nextAttemptAtMs: number;
  readonly lastStatus: number | null;
};

/** The stored answer of a POST; `id` is the digest of API key and idempotency key. */
export type IdempotentResult = {
  readonly id: string;
  readonly path: string;
  readonly fingerprint: string;
  readonly status: number;
  readonly body: string;
  readonly requestId: string;
  readonly createdAtMs: number;
};

/** Keeps a sandbox that runs for weeks from growing without end; the oldest rows go first. */
const ROWS_MAX = 20_000;

export class Table<T extends { readonly id: string }> {
  private readonly rows = new Map<string, T>();

  get(id: string): T | undefined {
    return this.rows.get(id);
  }

  /** Inserts, or replaces in place: a row keeps its position in lists. */
  put(row: T): void {
    this.rows.set(row.id, row);
    if (this.rows.size > ROWS_MAX) {
      const [oldestId] = this.rows.keys();
      if (oldestId !== undefined) this.rows.delete(oldestId);
    }
  }

  delete(id: string): void {
    this.rows.delete(id);
  }

  oldestFirst(): readonly T[] {
    return [...this.rows.values()];
  }

  newestFirst(): readonly T[] {
    return this.oldestFirst().toReversed();
  }
}

const TABLES = [
  'customers',
  'checkoutSessions',
  'paymentIntents',
  'paymentMethods',
  'charges',
  'invoices',
  'refunds',
  'disputes',
  'earlyFraudWarnings',
  'plannedOutcomes',
  'balanceTransactions',
  'payouts',
  'events',
  'webhookEndpoints',
  'webhookDeliveries',
  'idempotentResults',
] as const;

const STATE_VERSION = 1;

/**
 * All state of the simulator. Handlers change it synchronously, so a request is atomic by itself, and
 * await `flush()` before they answer: what a client has received survives a kill -9.
 */
export class StripeStore {
  readonly customers = new Table<Customer>();
  readonly checkoutSessions = new Table<CheckoutSessionRecord>();
  readonly paymentIntents = new Table<PaymentIntent>();
  readonly paymentMethods = new Table<PaymentMethodRecord>();
  readonly charges = new Table<Charge>();
  readonly invoices = new Table<Invoice>();
  readonly refunds = new Table<Refund>();
  readonly disputes = new Table<Dispute>();
  readonly earlyFraudWarnings = new Table<EarlyFraudWarning>();
  readonly plannedOutcomes = new Table<PlannedOutcome>();
  readonly balanceTransactions = new Table<BalanceTransaction>();
  readonly payouts = new Table<PayoutRecord>();
  readonly events = new Table<Event>();
  readonly webhookEndpoints = new Table<WebhookEndpointRecord>();
  readonly webhookDeliveries = new Table<WebhookDelivery>();
  readonly idempotentResults = new Table<IdempotentResult>();

  private readonly file: StateFile | null;

  private constructor(path: string | null) {
    this.file = path === null ? null : new StateFile(path, () => this.snapshot());
  }

  /** `path` null keeps everything in memory. Throws when the file is not one of ours. */
  static async open(path: string | null): Promise<StripeStore> {
    const store = new StripeStore(path);
    const state = path === null ? null : await readStateFile(path);
    if (state !== null) store.restore(state, path ?? '');
    return store;
  }

  async flush(): Promise<void> {
    await this.file?.save();
  }

  private snapshot(): unknown {
    const rows = TABLES.map((name) => [name, this[name].oldestFirst()]);
    return { version: STATE_VERSION, ...Object.fromEntries(rows) };
  }

  private restore(state: unknown, path: string): void {
    if (
      typeof state !== 'object' ||
      state === null ||
      !('version' in state) ||
      state.version !== STATE_VERSION
    ) {
      throw new Error(`${path} is not a sandbox state file of this version; move it away to start afresh`);
    }
    const saved = state as Readonly<Record<string, unknown>>;
    for (const name of TABLES) {
      const rows = saved[name];
      if (!Array.isArray(rows)) continue;
      for (const row of rows) (this[name] as Table<{ id: string }>).put(row as { id: string });
    }
  }
}
