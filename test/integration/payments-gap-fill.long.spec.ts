import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { JobQueue } from '../../src/platform/jobs/job-queue.js';
import {
  StripeEventList,
  StripeGapFillService,
} from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import { StripeGapFillJob } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.job.js';
import { StripeEventHandlers } from '../../src/payments/stripe/stripe-inbox.service.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { deliver } from '../support/payments/stripe-deliveries.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  expectCreditedOnce,
  expectNothingCredited,
  settled,
  startTopUp,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';
import { startTwoProcesses, type TwoProcesses } from '../support/process/two-processes.js';

const COMPLETED = 'checkout.session.completed';
const HOUR_MS = 3_600_000;

let processes: TwoProcesses;
let app: TestApp;
let second: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  processes = await startTwoProcesses();
  ({ app, second, control } = processes);
  // Of payment pages only, so that one payment in silence is one missing event.
  for (const process of [app, second]) {
    const handlers = process.app.get(StripeEventHandlers);
    const types = handlers.types().filter((type) => type.startsWith('checkout.session.'));
    handlers.types = () => types;
  }
});

afterEach(() => {
  control.clearFaults();
  jest.restoreAllMocks();
});

afterAll(() => processes.close());

/** A little ahead: Stripe counts in whole seconds. */
const soon = (): number => Date.now() + 2_000;

function fill(process: TestApp = app): Promise<number> {
  return process.app.get(StripeGapFillService).fill(soon());
}

/** Paid, and its event was lost. */
async function paidInSilence(): Promise<OpenTopUp> {
  const topUp = await startTopUp(app);
  control.setWebhookFaults({ loseEvents: true });
  await control.pay(topUp.sessionId);
  control.setWebhookFaults({ loseEvents: false });
  // Only the session's event is lost. The event of its payment, which names no top-up, was delivered.
  const [succeeded] = control.events('payment_intent.succeeded');
  await control.sendEvent(succeeded?.id ?? '');
  return topUp;
}

function eventIdOf(topUp: OpenTopUp, type = COMPLETED): string {
  const event = control.events(type).find(({ data }) => data.object['id'] === topUp.sessionId);
  if (event === undefined) throw new Error(`no ${type} for ${topUp.id}`);
  return event.id;
}

async function isStored(id: string): Promise<boolean> {
  return (
    (await app.dataSource.query<unknown[]>('SELECT FROM stripe_events WHERE id = $1', [id])).length === 1
  );
}

type Cursor = { readonly complete_until: Date; readonly window_until: Date | null };

async function cursor(type = COMPLETED): Promise<Cursor | undefined> {
  const rows = await app.dataSource.query<Cursor[]>(
    'SELECT complete_until, window_until FROM stripe_event_cursors WHERE type = $1',
    [type],
  );
  return rows[0];
}

describe('an event that never arrived', () => {
  it('is found in Stripe’s list and credits once, however often and by however many it is looked for', async () => {
    await fill();
    const topUp = await paidInSilence();
    const found = await Promise.all([fill(), fill(second), fill(), fill(second)]);
    // Stored by one of them, and counted by that one.
    expect(found.reduce((sum, count) => sum + count, 0)).toBe(1);
    expect(await fill()).toBe(0);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('credits once when it arrives after all, before or after it was found', async () => {
    const [late, early] = [await paidInSilence(), await paidInSilence()];
    await control.sendEvent(eventIdOf(early));
    expect(await fill()).toBe(1);
    await control.sendEvent(eventIdOf(late), { times: 3 });
    await settled(app);
    await expectCreditedOnce(app, late);
    await expectCreditedOnce(app, early);
  });

  it('is stored as it would have come, and acted on by the same job', async () => {
    const topUp = await paidInSilence();
    await fill();
    await settled(app);
    const [row] = await app.dataSource.query<Record<string, unknown>[]>(
      'SELECT type, object_id, livemode, outcome, payload FROM stripe_events WHERE id = $1',
      [eventIdOf(topUp)],
    );
    expect(row).toMatchObject({
      type: COMPLETED,
      object_id: topUp.sessionId,
      livemode: false,
      outcome: 'handled',
      payload: { id: eventIdOf(topUp), object: 'event', data: { object: { id: topUp.sessionId } } },
    });
  });

  it('is shown in the metrics by its type, and only then', async () => {
    const missed = async (): Promise<number> => {
      const { body } = await app.client(null).get('/metrics');
      const line = new RegExp(`^coffer_stripe_events_missed_total\\{.*type="${COMPLETED}".*\\} (\\d+)$`, 'm');
      return Number(line.exec(String(body))?.[1] ?? 0);
    };
    const before = await missed();
    const delivered = await startTopUp(app);
    await control.pay(delivered.sessionId);
    await settled(app);
    await fill();
    expect(await missed()).toBe(before);
    await paidInSilence();
    await fill();
    await settled(app);
    expect(await missed()).toBe(before + 1);
  });

  it('is left to its webhook for a minute by the job that runs by the clock', async () => {
    const topUp = await paidInSilence();
    const job = app.app.get(StripeGapFillJob);
    await job.run();
    expect(await isStored(eventIdOf(topUp))).toBe(false);
    const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 90_000);
    await job.run();
    now.mockRestore();
    expect(await isStored(eventIdOf(topUp))).toBe(true);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('of a type that was ignored when it came is acted on once somebody does: an upgrade loses nothing', async () => {
    const topUp = await paidInSilence();
    const handlers = app.app.get(StripeEventHandlers);
    const find = jest.spyOn(handlers, 'find').mockReturnValue(null);
    const event = control.events(COMPLETED).find(({ id }) => id === eventIdOf(topUp));
    (await deliver(app, event)).expect(200);
    find.mockRestore();
    await expectNothingCredited(app, topUp);
    await fill();
    await fill();
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });
});

describe('a run that ends too early', () => {
  it('loses nothing when storing fails in the middle of a page, and doubles nothing when it runs again', async () => {
    await fill();
    const topUps = [await paidInSilence(), await paidInSilence(), await paidInSilence()];
    const before = await cursor();
    const queue = app.app.get(JobQueue);
    const add = queue.add.bind(queue);
    let added = 0;
    jest.spyOn(queue, 'add').mockImplementation((...request) => {
      added += 1;
      return added === 2 ? Promise.reject(new Error('killed here')) : add(...request);
    });
    await expect(fill()).rejects.toThrow('killed here');
    expect(await cursor()).toEqual(before);
    jest.restoreAllMocks();
    expect(await fill()).toBe(2);
    await settled(app);
    for (const topUp of topUps) await expectCreditedOnce(app, topUp);
  });

  it('loses nothing when Stripe fails between two pages', async () => {
    await fill();
    const topUps = [await paidInSilence(), await paidInSilence(), await paidInSilence()];
    pagesOf(1, { failAtPage: 2 });
    await expect(fill()).rejects.toThrow('Stripe hung up');
    jest.restoreAllMocks();
    await fill(second);
    await settled(app);
    for (const topUp of topUps) await expectCreditedOnce(app, topUp);
    expect(await cursor()).toMatchObject({ window_until: null });
  });

  it('goes on in the next run, in any process, when there is more than one run lists', async () => {
    await fill();
    const topUps: OpenTopUp[] = [];
    for (let index = 0; index < 12; index += 1) topUps.push(await paidInSilence());
    const oldest = topUps[0];
    if (oldest === undefined) throw new Error('no top-up was paid');
    pagesOf(1);
    // Ten pages of one event: the newest come first, the oldest waits.
    await fill();
    expect(await isStored(eventIdOf(oldest))).toBe(false);
    const open = await cursor();
    expect(open?.window_until).not.toBeNull();
    const younger = await paidInSilence();
    for (let run = 0; run < 20 && (await cursor())?.window_until !== null; run += 1) {
      pagesOf(1, {}, run % 2 === 0 ? second : app);
      await fill(run % 2 === 0 ? second : app);
    }
    jest.restoreAllMocks();
    expect(await isStored(eventIdOf(oldest))).toBe(true);
    // What happened after the listing had begun is the next listing's.
    await fill();
    await settled(app);
    for (const topUp of [...topUps, younger]) await expectCreditedOnce(app, topUp);
  });

  it('begins its list again when Stripe has forgotten the event at which it stopped', async () => {
    await fill();
    const topUp = await paidInSilence();
    await app.dataSource.query(
      `UPDATE stripe_event_cursors SET window_until = $2, after_id = 'evt_forgotten' WHERE type = $1`,
      [COMPLETED, new Date(soon()).toISOString()],
    );
    expect(await fill()).toBe(1);
    await settled(app);
    await expectCreditedOnce(app, topUp);
    expect(await cursor()).toMatchObject({ window_until: null });
  });

  it('loses nothing when the clock was an hour ahead for a while', async () => {
    await app.app.get(StripeGapFillService).fill(Date.now() + HOUR_MS);
    const topUp = await paidInSilence();
    expect(await fill()).toBe(1);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('loses nothing that happened while the clock was ahead, however late it was set right', async () => {
    const gapFill = app.app.get(StripeGapFillService);
    await startTopUp(app);
    await gapFill.fill(Date.now() + 2 * HOUR_MS);
    const topUp = await paidInSilence();
    await gapFill.fill(Date.now() + 2 * HOUR_MS);
    await gapFill.fill(Date.now() + HOUR_MS);
    expect(await isStored(eventIdOf(topUp))).toBe(true);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('loses nothing when a run that hung ends long after its successor', async () => {
    await fill();
    const topUp = await paidInSilence();
    await app.app.get(StripeGapFillService).fill(Date.now() - HOUR_MS);
    expect(await fill()).toBe(1);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });
});

describe('Stripe’s list', () => {
  it('is not believed where it names no event of this mode; the others are stored', async () => {
    await fill();
    const topUp = await paidInSilence();
    control.setWebhookFaults({ loseEvents: true });
    const foreign = await control.emitTamperedEvent(eventIdOf(topUp), { event: { livemode: true } });
    await fill();
    expect(await isStored(foreign.id)).toBe(false);
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('keeps other types in view when it refuses one', async () => {
    const topUp = await paidInSilence();
    control.failRequests({ method: 'GET', pathPrefix: '/v1/events', outcome: 400, times: 1 });
    const types = app.app.get(StripeEventHandlers).types();
    jest
      .spyOn(app.app.get(StripeEventHandlers), 'types')
      .mockReturnValue(['refused.by.stripe', ...types.filter((type) => type === COMPLETED)]);
    await fill();
    await settled(app);
    await expectCreditedOnce(app, topUp);
  });

  it('is not asked for before anything of ours can be in it', async () => {
    const fresh = await startTestApp({ stripe: true });
    const list = jest.spyOn(fresh.app.get(StripeEventList), 'page');
    expect(await fill(fresh)).toBe(0);
    expect(list).not.toHaveBeenCalled();
    await fresh.close();
  });
});

/** Stripe’s list in pages of another size, as if there were more events than there are. */
function pagesOf(size: number, { failAtPage = -1 } = {}, process: TestApp = app): void {
  jest.restoreAllMocks();
  const list = process.app.get(StripeEventList);
  const page = list.page.bind(list);
  let pages = 0;
  jest.spyOn(list, 'page').mockImplementation(async (type, request) => {
    if (type === COMPLETED) pages += 1;
    if (pages === failAtPage) throw new Error('Stripe hung up');
    const whole = await page(type, request);
    if (whole.items.length <= size) return whole;
    const cut = whole.items.slice(0, size);
    return { ...whole, items: cut, nextAfterId: (JSON.parse(cut.at(-1) ?? '') as { id: string }).id };
  });
}
