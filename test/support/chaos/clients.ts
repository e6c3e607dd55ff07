import { Pool } from 'undici';
import { momentLater } from '../processes.js';
import type { SeededRandom } from '../seeded-random.js';
import { recordError } from '../app/run-log.js';
import { OPERATOR_KEY } from '../process/service-process.js';
import type { ChaosAccount, ChaosKey } from './cast.js';
import { acknowledged, isAcknowledged, isDecision, isUndecided, Journal, type Reply } from './journal.js';
import type { Attempt, Copy, HoldEnd, Operation, OperationOf, Target } from './plan.js';
import type { ChaosStage } from './stage.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
/** Of each client to each process. */
const CONNECTIONS = 64;
const ANSWER_MS = 150_000;
/** What the service may take to give a decision when nothing is killed any more: recovery's bound. */
const DECIDED_WITHIN_MS = 180_000;
const SENT_AGAIN_AFTER_MS = 400;
/** An SDK's pause before it sends a call again. */
const RETRY_AFTER_MS = [375, 600] as const;
/** At a time, when what has no decision is sent again. */
const SETTLED_AT_ONCE = 16;
/** Of a process that does not run, this share of requests goes to the other one, as a load balancer sends them. */
const REROUTED = 0.7;

type Sending = {
  readonly method?: 'POST' | 'PATCH';
  readonly path: string;
  readonly body: unknown;
  readonly secret?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
};

/** Gateways, SDKs, operators and customers: they send each operation several times, and write down every answer. */
export class ChaosClients {
  readonly journal = new Journal();
  requests = 0;
  private readonly pools: readonly Pool[];
  private readonly lines = new Map<string, Promise<void>>();

  constructor(
    private readonly stage: ChaosStage,
    private readonly cast: readonly ChaosAccount[],
    private readonly random: SeededRandom,
  ) {
    this.pools = stage.serviceUrls.map((url) => new Pool(url, { connections: CONNECTIONS }));
  }

  /** So many clients, each one operation after the other. `onBegin` hears how many have begun. */
  async run(plan: readonly Operation[], clients: number, onBegin: (begun: number) => void): Promise<void> {
    let next = 0;
    const client = async (): Promise<void> => {
      for (let index = next++; index < plan.length; index = next++) {
        onBegin(index);
        await this.make(plan[index] as Operation);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  /** Sends what has no decision again until it has one, and ends the holds that are open. */
  async settle(plan: readonly Operation[]): Promise<void> {
    const left = [...plan];
    const next = async (): Promise<void> => {
      for (let operation = left.pop(); operation !== undefined; operation = left.pop()) {
        await this.finish(operation);
      }
    };
    await Promise.all(Array.from({ length: SETTLED_AT_ONCE }, next));
  }

  async close(): Promise<void> {
    await Promise.all(this.pools.map((pool) => pool.destroy()));
  }

  private async make(operation: Operation): Promise<void> {
    const { name } = operation;
    switch (operation.kind) {
      case 'debit':
      case 'grant':
      case 'adjustment':
      case 'keyed_image':
        return this.sendCopies(name, operation.copies, this.sendingOf(operation));
      case 'batch':
        return this.inCopies(operation.copies, ({ to }) => this.sendBatch(operation, to));
      case 'hold':
        await this.sendCopies(name, operation.copies, this.sendingOf(operation));
        return this.endHold(operation);
      case 'retried_image':
        await this.callAsSdk(operation, operation.attempts);
        return;
      case 'top_up':
        await this.sendCopies(name, operation.copies, this.sendingOf(operation));
        return this.pay(name);
      case 'freeze':
        return this.inLine(`freeze ${operation.account}`, () => this.freezeAndUnfreeze(operation));
      case 'budget':
        return this.inLine(`budget ${operation.account}`, () => this.raiseLimit(operation));
    }
  }

  private async finish(operation: Operation): Promise<void> {
    const { name } = operation;
    switch (operation.kind) {
      case 'debit':
      case 'grant':
      case 'adjustment':
      case 'keyed_image':
        return this.decide(name, this.sendingOf(operation));
      case 'batch':
        return this.decideBatch(operation);
      case 'hold':
        await this.decide(name, this.sendingOf(operation));
        return this.finishHold(operation);
      case 'retried_image':
        return this.finishAsSdk(operation);
      case 'top_up':
        await this.decide(name, this.sendingOf(operation));
        return this.pay(name);
      case 'freeze':
      case 'budget':
        return; // Decided before the next one began.
    }
  }

  private sendingOf(
    operation: OperationOf<'debit' | 'grant' | 'adjustment' | 'keyed_image' | 'hold' | 'top_up'>,
  ): Sending {
    const { id } = this.account(operation);
    const headers = { 'idempotency-key': operation.name };
    switch (operation.kind) {
      case 'debit':
        return { path: '/v1/debits', body: debitBody(id, operation.name, operation.amountMicros) };
      case 'hold':
        return { path: '/v1/holds', body: debitBody(id, operation.name, operation.amountMicros) };
      case 'grant':
      case 'adjustment': {
        const body = { amount_micros: String(operation.amountMicros), reason: operation.name };
        return { path: `/v1/accounts/${id}/${operation.kind}s`, body, headers };
      }
      case 'keyed_image':
        return { ...this.imageOf(operation), headers: { ...headers, 'x-coffer-tag': operation.name } };
      case 'top_up': {
        const { secret } = this.account(operation).keys[0] as ChaosKey;
        return { path: '/v1/top_ups', body: { credit_cents: operation.creditCents }, headers, secret };
      }
    }
  }

  private imageOf(operation: OperationOf<'keyed_image' | 'retried_image'>): Sending {
    const { secret } = this.account(operation).keys[operation.key] as ChaosKey;
    const { prompt, images } = operation;
    return {
      path: '/v1/images/generations',
      body: { model: MODEL, prompt, n: images, size: '64x64' },
      secret,
    };
  }

  private async endHold(operation: OperationOf<'hold'>): Promise<void> {
    const [held] = acknowledged(this.journal.entry(operation.name));
    if (held === undefined) return;
    await this.inCopies(
      operation.ends.map((end) => ({ ...end.copy, end })),
      ({ to, end }) => this.sendEnd(operation, String(held.body.id), end, to),
    );
  }

  private async finishHold(operation: OperationOf<'hold'>): Promise<void> {
    const [held] = acknowledged(this.journal.entry(operation.name));
    if (held === undefined) return;
    const end = operation.ends[0] ?? { captureMicros: null };
    const name = endName(operation);
    if (this.journal.entry(name).replies.some(isDecision)) return;
    await this.untilDecided([name], (to) => this.sendEnd(operation, String(held.body.id), end, to));
  }

  /** The answer says what it was an answer to: captures and voids of one hold race. */
  private async sendEnd(
    operation: OperationOf<'hold'>,
    id: string,
    { captureMicros }: Pick<HoldEnd, 'captureMicros'>,
    to: Target,
  ): Promise<void> {
    const sending =
      captureMicros === null
        ? { path: `/v1/holds/${id}/void`, body: {} }
        : { path: `/v1/holds/${id}/capture`, body: { amount_micros: String(captureMicros) } };
    const reply = await this.send(endName(operation), to, sending);
    const asked = captureMicros === null ? 'voided' : `captured ${captureMicros}`;
    this.journal.note(
      endName(operation),
      reply === null ? null : { ...reply, body: { ...reply.body, asked } },
    );
  }

  /** Each item of an answer counts as the answer to its own debit. */
  private async sendBatch(operation: OperationOf<'batch'>, to: Target): Promise<void> {
    const debits = operation.debits.map((debit, index) =>
      debitBody(this.account(debit).id, itemName(operation, index), debit.amountMicros),
    );
    const reply = await this.send(operation.name, to, { path: '/v1/debits/batch', body: { debits } });
    operation.debits.forEach((_debit, index) => {
      const item = reply?.status === 200 ? reply.body.data[index] : null;
      const status = item?.object === 'error' ? item.status : item?.replayed === true ? 200 : 201;
      const answer = item === null || reply === null ? reply : { ...reply, status, body: item };
      this.journal.note(itemName(operation, index), answer);
    });
  }

  private async decideBatch(operation: OperationOf<'batch'>): Promise<void> {
    const names = operation.debits.map((_debit, index) => itemName(operation, index));
    if (!names.some((name) => isUndecided(this.journal.entry(name)))) return;
    await this.untilDecided(names, (to) => this.sendBatch(operation, to));
  }

  /** As OpenAI's SDKs: the next attempt follows an answer that is to be retried, or none. */
  private async callAsSdk(
    operation: OperationOf<'retried_image'>,
    attempts: readonly Attempt[],
    before = 0,
  ): Promise<boolean> {
    for (const [index, { to, hangUpAfterMs }] of attempts.entries()) {
      if (before + index > 0) await momentLater(this.random.between(...RETRY_AFTER_MS));
      const headers = { 'x-stainless-retry-count': String(before + index), 'x-coffer-tag': operation.name };
      const signal = hangUpAfterMs === null ? {} : { signal: AbortSignal.timeout(hangUpAfterMs) };
      const reply = await this.send(operation.name, to, { ...this.imageOf(operation), headers, ...signal });
      this.journal.note(operation.name, reply);
      if (reply !== null && !isRetriedBySdk(reply)) return true;
    }
    return false;
  }

  private async finishAsSdk(operation: OperationOf<'retried_image'>): Promise<void> {
    const { replies } = this.journal.entry(operation.name);
    const last = replies.at(-1) ?? null;
    if (last !== null && (!isRetriedBySdk(last) || isDecision(last))) return;
    await this.untilDecided([operation.name], (to) =>
      this.callAsSdk(operation, [{ to, hangUpAfterMs: null }], replies.length),
    );
  }

  /** What was acknowledged holds at once and everywhere: nothing is spent until it is lifted. */
  private async freezeAndUnfreeze(operation: OperationOf<'freeze'>): Promise<void> {
    const { id } = this.account(operation);
    const body = { reason: operation.name };
    const freeze = { path: `/v1/accounts/${id}/freeze`, body };
    const lift = { path: `/v1/accounts/${id}/unfreeze`, body };
    await this.sendCopies(operation.name, operation.copies, freeze);
    if (acknowledged(this.journal.entry(operation.name)).length > 0) {
      for (const to of [0, 1] as const) {
        const probe = `probe-${to}-${operation.name}`;
        const reply = await this.send(probe, to, { path: '/v1/debits', body: debitBody(id, probe, 1) });
        if (isAcknowledged(reply)) this.journal.faults.push(`${probe}: charged a frozen wallet`);
      }
    }
    const lifted = `lift-${operation.name}`;
    await this.sendCopies(lifted, operation.copies, lift);
    await this.decide(lifted, lift);
  }

  private async raiseLimit(operation: OperationOf<'budget'>): Promise<void> {
    const { id, keys } = this.account(operation);
    const key = keys[operation.key] as ChaosKey;
    key.limitMicros = (key.limitMicros ?? 0) + operation.raiseMicros;
    const body = { spend_limits: { total_micros: String(key.limitMicros) } };
    const sending = { method: 'PATCH', path: `/v1/accounts/${id}/api_keys/${key.id}`, body } as const;
    await this.sendCopies(operation.name, operation.copies, sending);
    await this.decide(operation.name, sending);
  }

  /** As a customer who clicks twice. A page that was paid is answered 409. */
  private async pay(name: string): Promise<void> {
    const [topUp] = acknowledged(this.journal.entry(name));
    if (topUp === undefined) return;
    const headers = { accept: 'application/json' };
    const click = () => fetch(`${topUp.body.checkout_url}/pay`, { method: 'POST', headers });
    for (const { status } of await Promise.all([click(), click()])) {
      if (status !== 200 && status !== 409)
        this.journal.faults.push(`${name}: its page was answered ${status}`);
    }
  }

  private sendCopies(name: string, copies: readonly Copy[], sending: Sending): Promise<void> {
    return this.inCopies(copies, async ({ to }) =>
      this.journal.note(name, await this.send(name, to, sending)),
    );
  }

  private async inCopies<T extends Copy>(
    copies: readonly T[],
    send: (copy: T) => Promise<void>,
  ): Promise<void> {
    const begin = async (copy: T): Promise<void> => {
      await momentLater(copy.afterMs);
      await send(copy);
    };
    await Promise.all(copies.map(begin));
  }

  private async decide(name: string, sending: Sending): Promise<void> {
    if (!isUndecided(this.journal.entry(name))) return;
    await this.untilDecided([name], async (to) =>
      this.journal.note(name, await this.send(name, to, sending)),
    );
  }

  /** Sends until the last answer to each of them is a decision. */
  private async untilDecided(
    names: readonly string[],
    send: (to: Target) => Promise<unknown>,
  ): Promise<void> {
    const deadline = performance.now() + DECIDED_WITHIN_MS;
    for (let times = 0; performance.now() < deadline; times += 1) {
      if (times > 0) await momentLater(SENT_AGAIN_AFTER_MS);
      await send(times % 2 === 0 ? 0 : 1);
      if (names.every((name) => isDecision(this.journal.entry(name).replies.at(-1) ?? null))) return;
    }
    this.journal.faults.push(`${names.join()}: never decided`);
  }

  /** One after the other for each line: what the next one begins with is known. */
  private inLine(line: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.lines.get(line) ?? Promise.resolve()).then(work);
    this.lines.set(line, turn);
    return turn;
  }

  private account({ account }: { readonly account: number }): ChaosAccount {
    return this.cast[account] as ChaosAccount;
  }

  private async send(name: string, to: Target, sending: Sending): Promise<Reply | null> {
    const sentAt = new Date();
    const target = await this.routed(to);
    this.requests += 1;
    const reply = await this.request(target, sending).catch(() => null);
    this.journal.log(name, target, sentAt, reply);
    return reply;
  }

  private async request(to: Target, sending: Sending): Promise<Reply> {
    const { method = 'POST', path, body, secret = OPERATOR_KEY, headers = {}, signal } = sending;
    const answer = await (this.pools[to] as Pool).request({
      method,
      path,
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      headersTimeout: ANSWER_MS,
      bodyTimeout: ANSWER_MS,
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 400) recordError(method, answer.statusCode, text);
    const header = (wanted: string): string | null =>
      answer.headers[wanted] === undefined ? null : String(answer.headers[wanted]);
    const shouldRetry = header('x-should-retry');
    return {
      status: answer.statusCode,
      text,
      body: JSON.parse(text),
      generationId: header('x-generation-id'),
      chargedMicros: header('x-charged-micros'),
      shouldRetry: shouldRetry === null ? null : shouldRetry === 'true',
    };
  }

  private async routed(to: Target): Promise<Target> {
    if (this.stage.isRunning(to)) return to;
    await this.stage.whenAnyRuns();
    const other = to === 0 ? 1 : 0;
    return this.stage.isRunning(other) && this.random.next() < REROUTED ? other : to;
  }
}

export const itemName = (operation: OperationOf<'batch'>, index: number): string =>
  `${operation.name}.${index}`;
export const endName = ({ name }: OperationOf<'hold'>): string => `end-${name}`;

function debitBody(account: string, reference: string, amountMicros: number): object {
  return { account, reference, amount_micros: String(amountMicros) };
}

function isRetriedBySdk({ status, shouldRetry }: Reply): boolean {
  return shouldRetry ?? (status === 408 || status === 409 || status === 429 || status >= 500);
}
