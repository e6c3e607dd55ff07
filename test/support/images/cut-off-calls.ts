import { expect, jest } from '@jest/globals';
import { ImageCallsService } from '../../../src/gateway/images/calls/image-calls.service.js';
import { RunningGenerationsService } from '../../../src/gateway/images/calls/running-generations.service.js';
import type { WalletCommand } from '../../../src/money/wallets/rules/command.js';
import { WalletEngine } from '../../../src/money/wallets/wallet-engine.js';
import { MODEL } from '../../fixtures/images.js';
import type { TestApp, TestCustomer } from '../app/test-app.js';
import { eventually } from '../processes.js';
import { dieAt, endDeaths } from '../process/deaths.js';

export type Sent = {
  /** 0, the default, is the first attempt of an SDK; null is a client that announces no retries. */
  readonly retryCount?: number | null;
  readonly prompt?: string;
  readonly at?: TestApp;
  readonly apiKey?: string;
  readonly key?: string;
};

const isAuthorize = (({ type }: WalletCommand) => type === 'authorize') as (...args: never[]) => boolean;

/**
 * Image calls of one customer, sent as SDKs send them, whose clients hang up at a chosen place in the call. While the
 * provider is kept busy, its calls stay where they are until `letProviderFinish`; so no place is a matter of time.
 */
export class CutOffCalls {
  /**
   * @param service has the simulated provider.
   * @param second another process on the same database.
   */
  constructor(
    private readonly service: TestApp,
    private readonly second: TestApp,
    private readonly customer: TestCustomer,
  ) {}

  /** One request of an SDK: its first, or one that it sends again by itself. */
  send(sent: Sent = {}, signal: AbortSignal | null = null): Promise<Response> {
    const { retryCount = 0, prompt = 'a fox', at = this.service, apiKey = this.customer.apiKey, key } = sent;
    return fetch(`${at.url}/v1/images/generations`, {
      method: 'POST',
      signal,
      headers: {
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        ...(retryCount === null ? {} : { 'x-stainless-retry-count': String(retryCount) }),
        ...(key === undefined ? {} : { 'idempotency-key': key }),
      },
      body: JSON.stringify({ model: MODEL, prompt, size: '64x64' }),
    });
  }

  get submits(): number {
    return this.service.blackForestLabs?.control.counts().submits ?? 0;
  }

  /** From here on the provider takes what it is asked for and finishes nothing. */
  keepProviderBusy(): void {
    this.service.upstreamClock.stop();
    this.service.blackForestLabs?.control.setLatencyMs(1);
  }

  letProviderFinish(): void {
    this.service.blackForestLabs?.control.setLatencyMs(0);
    this.service.upstreamClock.reset();
  }

  /** No call is under way, and the outcome of each is written down. Fails with what is known of those that are. */
  async allOver(): Promise<void> {
    const areOver = () =>
      [this.service, this.second].every(({ app }) => app.get(RunningGenerationsService).size === 0);
    await eventually('no call is under way', areOver).catch(async (error: unknown) => {
      throw new Error(`calls are under way: ${JSON.stringify(await this.underWay())}`, { cause: error });
    });
  }

  /** A call without a task has not been named one by its provider. */
  private underWay(): Promise<unknown> {
    return this.service.dataSource.query(
      `SELECT g.id, g.status, h.status AS hold,
              array(SELECT concat_ws(' ', provider, task_id, t.status)
                      FROM generation_tasks t WHERE t.account_id = g.account_id AND t.generation_id = g.id) AS tasks
         FROM generations g LEFT JOIN holds h ON h.account_id = g.account_id AND h.id = g.hold_id
        WHERE g.account_id = $1 AND g.finished_at IS NULL`,
      [this.customer.accountId],
    );
  }

  async rowsOf(table: 'generations' | 'holds', condition = 'true'): Promise<number> {
    const sql = `SELECT FROM ${table} WHERE account_id = $1 AND ${condition}`;
    const rows = await this.service.dataSource.query<unknown[]>(sql, [this.customer.accountId]);
    return rows.length;
  }

  async isAbandoned(): Promise<boolean> {
    return (await this.rowsOf('generations', `retry_state = 'abandoned'`)) > 0;
  }

  /**
   * A retry has taken an attempt, and waits for it.
   *
   * @param retry must not be answered before; otherwise that answer is what the test fails with.
   */
  async untilClaimed(retry?: Promise<Response>): Promise<void> {
    let early: Response | null = null;
    void retry?.then((answer) => (early = answer));
    await eventually('a retry has taken its attempt', async () => {
      expect(early).toBeNull();
      return (await this.rowsOf('generations', `retry_state = 'claimed'`)) > 0;
    });
  }

  /** The first attempt is cut off as it comes in: it ends before it has begun. */
  async atOnce(): Promise<void> {
    const stop = dieAt(this.service.app.get(ImageCallsService), 'create', 'before');
    const { over } = await this.hangUp([{}], () => stop.reached);
    endDeaths();
    await over;
  }

  /** The first attempt is cut off while its credit is being set aside, which it is afterwards, and then gives it back. */
  async whileCreditIsSetAside(): Promise<void> {
    this.keepProviderBusy();
    const wanted = (await this.rowsOf('holds')) + 1;
    const stop = dieAt(this.service.app.get(WalletEngine), 'execute', 'before', isAuthorize);
    await this.hangUp([{}], () => stop.reached);
    endDeaths();
    await eventually('its credit is set aside', async () => (await this.rowsOf('holds')) === wanted);
  }

  /** First attempts are cut off together while the provider works on all of them, which it still does afterwards. */
  async whileProviderWorks(calls: readonly Sent[] = [{}]): Promise<void> {
    this.keepProviderBusy();
    const wanted = this.submits + calls.length;
    await this.hangUp(calls, () => eventually('the provider works on each', () => this.submits === wanted));
  }

  /** A retry is cut off while it waits for its attempt. */
  async whileRetryWaits(sent: Sent): Promise<void> {
    await this.hangUp([sent], () => this.untilClaimed());
  }

  /**
   * Clients that hang up together when `reached` resolves. Resolves when the services have noticed that they are gone;
   * the calls may go on without them, and are over when `over` resolves.
   */
  private async hangUp(
    calls: readonly Sent[],
    reached: () => Promise<void>,
  ): Promise<{ readonly over: Promise<unknown> }> {
    const services = new Set(calls.map(({ at = this.service }) => at.app.get(ImageCallsService)));
    const entries = [...services].map((service) => jest.spyOn(service, 'create'));
    const clients = new AbortController();
    const endings = calls.map((sent) =>
      this.send(sent, clients.signal).then(
        () => 'answered',
        () => 'gone',
      ),
    );
    try {
      await reached();
      clients.abort();
      expect(await Promise.all(endings)).toEqual(calls.map(() => 'gone'));
      const callers = entries.flatMap(({ mock }) => mock.calls.map(([, caller]) => caller));
      const answered = await Promise.all(callers.map(async ({ client }) => client?.answered));
      expect(answered).toEqual(calls.map(() => false));
      return {
        over: Promise.allSettled(entries.flatMap(({ mock }) => mock.results.map(({ value }) => value))),
      };
    } finally {
      for (const entry of entries) entry.mockRestore();
    }
  }
}
