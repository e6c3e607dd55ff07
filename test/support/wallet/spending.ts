import { eventually } from '../processes.js';
import type { SeededRandom } from '../seeded-random.js';
import type { TestAnswer, TestClient } from '../app/test-client.js';

/** A debit, as the gateway that sent it sees it. */
export type DebitCharge = {
  readonly kind: 'debit';
  readonly account: string;
  readonly reference: string;
  readonly amountMicros: number;
  /** The service's decision; null while none has arrived. */
  answer: TestAnswer | null;
};

/** A hold and what becomes of it. */
export type HeldCharge = {
  readonly kind: 'hold';
  readonly account: string;
  readonly reference: string;
  readonly amountMicros: number;
  /** 0 voids it; null leaves it open, as a gateway does that dies. */
  readonly captureMicros: number | null;
  answer: TestAnswer | null;
  resolution: TestAnswer | null;
};

export type Charge = DebitCharge | HeldCharge;

const HOLD_SECONDS = 900;
const AMOUNT_MAX_MICROS = 5_000;
/** At a time, when what has no answer is sent again. */
const SENT_AGAIN_AT_ONCE = 32;

type Options = {
  readonly random: SeededRandom;
  /** Repeat an account to spend from it more often. */
  readonly accounts: readonly string[];
  /** Of every charge; 1 to 5,000 micros when absent. */
  readonly amountMicros?: number;
};

/**
 * Many gateways that spend at the same time, each charge under a reference of its own, and that write down
 * every answer. An answer counts when its last byte has arrived; a 5xx is no decision.
 */
export class Spending {
  readonly charges: Charge[] = [];
  /** 2xx answers so far. */
  acknowledged = 0;
  /** Requests of which the connection broke, or was refused, before their answer. */
  unanswered = 0;
  /** Every 5xx answer. */
  readonly refusals: TestAnswer[] = [];
  private stopping = false;
  private readonly waiting = new Set<() => void>();
  private gateways: Promise<void>[] = [];

  constructor(private readonly options: Options) {}

  get accounts(): readonly string[] {
    return this.options.accounts;
  }

  /** Lets so many gateways spend, each one charge after the other, until `stop`. */
  start(client: TestClient, gateways: number): void {
    this.stopping = false;
    this.gateways = Array.from({ length: gateways }, () => this.spend(client));
  }

  /** Begins no new charge, and resolves when every request has its answer, or will get none. */
  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.gateways.splice(0));
  }

  /** Waits for so many further 2xx answers; resolves in the moment that the last of them arrives. */
  async acknowledgedMore(count: number): Promise<void> {
    const target = this.acknowledged + count;
    const reached = new Promise<void>((resolve) => {
      const check = (): void => {
        if (this.acknowledged < target) return;
        this.waiting.delete(check);
        resolve();
      };
      this.waiting.add(check);
    });
    const patience = eventually(
      `${count} further charges are acknowledged`,
      () => this.acknowledged >= target,
    );
    await Promise.race([reached, patience]);
  }

  /** Sends everything that has no decision again, as it was. Throws when something still gets none. */
  async sendAgain(client: TestClient): Promise<void> {
    const open = this.charges.filter(isUndecided);
    const next = async (): Promise<void> => {
      for (let charge = open.pop(); charge !== undefined; charge = open.pop()) {
        await this.send(client, charge);
        if (isUndecided(charge)) throw new Error(`no decision on ${charge.kind} ${charge.reference}`);
      }
    };
    await Promise.all(Array.from({ length: SENT_AGAIN_AT_ONCE }, next));
  }

  private async spend(client: TestClient): Promise<void> {
    while (!this.stopping) {
      const charge = this.newCharge();
      this.charges.push(charge);
      await this.send(client, charge);
      // A gateway whose service is away waits a moment, so that it does not only count refused connections.
      if (isUndecided(charge) && !this.stopping) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  private newCharge(): Charge {
    const { random, accounts, amountMicros = random.between(1, AMOUNT_MAX_MICROS) } = this.options;
    const reference = `charge-${this.charges.length}`;
    const common = { account: random.pick(accounts), reference, amountMicros, answer: null };
    if (random.next() < 0.7) return { kind: 'debit', ...common };
    const captureMicros = random.pick([null, 0, amountMicros, random.between(1, amountMicros)]);
    return { kind: 'hold', ...common, captureMicros, resolution: null };
  }

  private async send(client: TestClient, charge: Charge): Promise<void> {
    const { account, reference, amountMicros } = charge;
    const body = { account, reference, amount_micros: String(amountMicros) };
    if (charge.kind === 'debit') {
      charge.answer ??= await this.post(client, '/v1/debits', body);
      return;
    }
    charge.answer ??= await this.post(client, '/v1/holds', { ...body, expires_in_seconds: HOLD_SECONDS });
    if (charge.answer === null || charge.answer.status >= 400 || charge.captureMicros === null) return;
    const path = `/v1/holds/${charge.answer.body.id}`;
    charge.resolution ??=
      charge.captureMicros === 0
        ? await this.post(client, `${path}/void`)
        : await this.post(client, `${path}/capture`, { amount_micros: String(charge.captureMicros) });
  }

  private async post(client: TestClient, path: string, body?: unknown): Promise<TestAnswer | null> {
    let answer: TestAnswer;
    try {
      answer = await client.post(path, body);
    } catch {
      this.unanswered += 1;
      return null;
    }
    if (answer.status >= 500) {
      this.refusals.push(answer);
      return null;
    }
    if (answer.status < 300) {
      this.acknowledged += 1;
      for (const check of this.waiting) check();
    }
    return answer;
  }
}

/** Whether the gateway still waits for a decision of the service. */
export function isUndecided(charge: Charge): boolean {
  if (charge.answer === null) return true;
  if (charge.kind === 'debit' || charge.answer.status >= 400 || charge.captureMicros === null) return false;
  return charge.resolution === null;
}
