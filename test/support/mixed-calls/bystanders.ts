import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { micros } from '../../../src/platform/common/money.js';
import { PRICE_ENTITIES, putPrice } from '../../../src/money/pricing/put-price.js';
import { TestClient } from '../app/test-client.js';
import { momentLater } from '../processes.js';
import { PAID_MODEL, type MixedPlan, type PlannedEvent } from './plan.js';
import { grant, PROVIDER, type CastAccount, type MixedStage } from './stage.js';

/** What operators and customers did next to the calls, with the times at which no one can have been in doubt. */
export type Deeds = {
  /** By account id; what was there from the beginning is not in it. */
  readonly grantedMicros: Map<string, bigint>;
  /** From the answer to `freeze` until the request to unfreeze. */
  readonly frozen: { readonly account: string; readonly fromMs: number; untilMs: number }[];
  /** By key id: when its end was acknowledged. */
  readonly revokedAtMs: Map<string, number>;
  /** By account id. */
  readonly providerKeyRemovals: Map<string, ProviderKeyRemoval>;
  /** By account id: how many an outside gateway held and voided. */
  readonly voidedHolds: Map<string, number>;
  priceChangedAtMs: number | null;
};

export type ProviderKeyRemoval = {
  /** By the clock of the clients. */
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
  /** The holds that the database had before the removal was sent. */
  readonly holdIdsBefore: readonly string[];
};

/** A new price is published this long before it takes effect. */
const PRICE_LEAD_MS = 2_000;
/** The last third of the calls waits for the new price, so that both prices are paid however fast the others were. */
const CALLS_BEFORE_PRICE = 2 / 3;

/** Next to the accounts' own numbers. */
const PRICE_CHAIN = -1;

/** Does what the plan says shall happen next to the calls. One account's events happen one after the other. */
export class Bystanders {
  readonly deeds: Deeds = {
    grantedMicros: new Map(),
    frozen: [],
    revokedAtMs: new Map(),
    providerKeyRemovals: new Map(),
    voidedHolds: new Map(),
    priceChangedAtMs: null,
  };
  private readonly operators: readonly TestClient[];
  private readonly chains = new Map<number, Promise<void>>();
  private next = 0;

  constructor(
    private readonly stage: MixedStage,
    private readonly plan: MixedPlan,
    private readonly cast: readonly CastAccount[],
  ) {
    this.operators = stage.serviceUrls.map((url) => new TestClient(url, stage.operatorKey));
  }

  /** Begins what is due. Resolves at once until the last third of the calls. */
  async whenBegun(calls: number): Promise<void> {
    for (let event = this.plan.events[this.next]; event !== undefined; event = this.plan.events[this.next]) {
      if (event.atCall > calls) break;
      this.next += 1;
      this.begin(event, this.next);
    }
    if (calls > this.plan.calls.length * CALLS_BEFORE_PRICE) await this.chains.get(PRICE_CHAIN);
  }

  /** Everything that was begun is over; what is still to come has happened too. Rejects when something failed. */
  async finish(): Promise<void> {
    await this.whenBegun(Number.POSITIVE_INFINITY);
    await Promise.all(this.chains.values());
  }

  private begin(event: PlannedEvent, number: number): void {
    const chain = event.type === 'change_price' ? PRICE_CHAIN : event.account;
    const before = this.chains.get(chain) ?? Promise.resolve();
    const deed = before.then(() => this.happen(event, number));
    // `finish` reports the failure. Until then the rejection must not count as unhandled.
    deed.catch(() => undefined);
    this.chains.set(chain, deed);
  }

  private async happen(event: PlannedEvent, number: number): Promise<void> {
    if (event.type === 'change_price') return this.changePrice(event.amountMicros);
    const account = this.cast[event.account] as CastAccount;
    const operator = this.operators[number % this.operators.length] as TestClient;
    const { deeds } = this;
    switch (event.type) {
      case 'grant': {
        const granted = await grant(operator, account.id, event.amountMicros);
        deeds.grantedMicros.set(account.id, (deeds.grantedMicros.get(account.id) ?? 0n) + granted);
        return;
      }
      case 'freeze':
        (await operator.post(`/v1/accounts/${account.id}/freeze`, { reason: 'mixed calls' })).expect(200);
        deeds.frozen.push({ account: account.id, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY });
        return;
      case 'unfreeze': {
        const open = deeds.frozen.findLast((window) => window.account === account.id);
        if (open !== undefined) open.untilMs = Date.now();
        (await operator.post(`/v1/accounts/${account.id}/unfreeze`, { reason: 'mixed calls' })).expect(200);
        return;
      }
      case 'revoke': {
        const id = account.secrets[event.key]?.id ?? '';
        (await operator.delete(`/v1/accounts/${account.id}/api_keys/${id}`)).expect(200);
        deeds.revokedAtMs.set(id, Date.now());
        return;
      }
      case 'remove_provider_key': {
        const customer = new TestClient(this.stage.serviceUrls[0], account.secrets[0]?.secret ?? '');
        const holdIdsBefore = await this.findHoldIds(account.id);
        const sentAtMs = Date.now();
        (await customer.delete(`/v1/provider_keys/${PROVIDER}`)).expect(200);
        deeds.providerKeyRemovals.set(account.id, { sentAtMs, answeredAtMs: Date.now(), holdIdsBefore });
        return;
      }
      case 'hold_and_void':
        return this.holdAndVoid(operator, account.id, event.amountMicros, number);
    }
  }

  private async holdAndVoid(
    operator: TestClient,
    account: string,
    amountMicros: bigint,
    number: number,
  ): Promise<void> {
    const body = { account, reference: `bystander-${number}`, amount_micros: String(amountMicros) };
    const held = await operator.post('/v1/holds', body);
    if (held.status === 402) return;
    // Somewhere in between, calls of the same account come.
    await momentLater(number % 50);
    (await operator.post(`/v1/holds/${held.expect(201).body.id}/void`)).expect(200);
    this.deeds.voidedHolds.set(account, (this.deeds.voidedHolds.get(account) ?? 0) + 1);
  }

  private async findHoldIds(account: string): Promise<string[]> {
    const sql = 'SELECT id FROM holds WHERE account_id = $1';
    const rows = await this.asOwner((owner) => owner.query<{ id: string }[]>(sql, [account]));
    return rows.map(({ id }) => id);
  }

  private async changePrice(amountMicros: bigint): Promise<void> {
    const effectiveMs = Date.now() + PRICE_LEAD_MS;
    const price = { model: PAID_MODEL, amountMicros: micros(amountMicros), nowMs: effectiveMs };
    await this.asOwner((owner) => owner.transaction((tx) => putPrice(tx, price)));
    this.deeds.priceChangedAtMs = effectiveMs;
    // Both services go by the clock of the machine, and a published price takes effect at its time.
    await sleep(effectiveMs - Date.now());
  }

  private async asOwner<T>(work: (owner: DataSource) => Promise<T>): Promise<T> {
    const url = this.stage.databaseUrl;
    const owner = await new DataSource({ type: 'postgres', url, entities: [...PRICE_ENTITIES] }).initialize();
    try {
      return await work(owner);
    } finally {
      await owner.destroy();
    }
  }
}
