import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { StripeGapFill } from '../../src/payments/gap-fill/stripe-gap-fill.service.js';
import type { SandboxStripeControl } from '../../src/sandbox/stripe/control.js';
import type { Event } from '../../src/sandbox/stripe/objects.js';
import { deliver } from '../support/stripe-deliveries.js';
import { startTestApp, type TestApp } from '../support/test-app.js';
import { expectCreditedOnce, settled, startTopUp, type OpenTopUp } from '../support/top-up-books.js';

/** Whatever they are called, they ask one question: where does the session stand now? It is paid. */
const TYPES = [
  'checkout.session.completed',
  'checkout.session.async_payment_succeeded',
  'checkout.session.async_payment_failed',
  'checkout.session.expired',
] as const;
const PROCESSES = ['one process', 'two processes'] as const;

let app: TestApp;
let second: TestApp;
let control: SandboxStripeControl;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  const { stripe, operatorKey, masterKeys } = app.settings;
  second = await startTestApp({
    databaseUrl: app.databaseUrl,
    settings: { stripe, operatorKey, masterKeys, runJobs: true },
  });
});

afterEach(() => control.clearFaults());

afterAll(async () => {
  await second.close();
  await app.close();
});

/** Paid, with an event of this type that nobody delivered yet. */
async function paid(type: string): Promise<{ readonly topUp: OpenTopUp; readonly event: Event }> {
  const topUp = await startTopUp(app);
  control.setWebhookFaults({ loseEvents: true });
  await control.pay(topUp.sessionId);
  const original = control
    .events('checkout.session.completed')
    .find(({ data }) => data.object['id'] === topUp.sessionId);
  if (original === undefined) throw new Error(`no event of ${topUp.id}`);
  const event = await control.emitTamperedEvent(original.id, { event: { type } });
  control.clearFaults();
  return { topUp, event };
}

type Ways = Record<string, (event: Event, to: readonly TestApp[]) => Promise<void>>;

async function send(event: unknown, to: readonly TestApp[], times = 1): Promise<void> {
  const targets = Array.from({ length: times }, (_, index) => to[index % to.length] ?? app);
  const answers = await Promise.all(targets.map((target) => deliver(target, event)));
  for (const answer of answers) answer.expect(200);
}

const fill = async (to: readonly TestApp[]): Promise<void> => {
  await Promise.all(to.map((process) => process.app.get(StripeGapFill).fill(Date.now() + 2_000)));
};

/** Thin events of the same kinds carry nothing but a name. */
const thin = ({ id, type, data }: Event): Record<string, unknown> => ({
  id: `${id}thin`,
  object: 'v2.core.event',
  type: `v1.${type}`,
  livemode: false,
  created: new Date().toISOString(),
  related_object: { id: data.object['id'], type: 'checkout.session', url: '/v1/checkout/sessions' },
});

const WAYS: Ways = {
  once: (event, to) => send(event, to),
  'ten times': (event, to) => send(event, to, 10),
  'as a thin event, and as a snapshot': async (event, to) => {
    await Promise.all([send(thin(event), to, 2), send(event, to)]);
  },
  'after all the others, in the wrong order': async (event, to) => {
    for (const type of TYPES.filter((other) => other !== event.type).toReversed()) {
      await send({ ...event, id: `${event.id}${TYPES.indexOf(type)}`, type }, to);
    }
    await send(event, to);
  },
  'late, when everything was settled by the gap fill': async (event, to) => {
    await fill(to);
    await settled(app);
    await send(event, to, 2);
  },
  'never: lost, and found in Stripe’s list': async (_event, to) => {
    await fill(to);
    await fill(to);
  },
};

describe.each(TYPES)('one payment is credited once when %s arrives', (type) => {
  describe.each(PROCESSES)('at %s', (processes) => {
    it.each(Object.keys(WAYS))('%s', async (way) => {
      const to = processes === 'one process' ? [app] : [app, second];
      const { topUp, event } = await paid(type);
      await WAYS[way]?.(event, to);
      await settled(app);
      await expectCreditedOnce(app, topUp);
    });
  });
});

describe('every event of every payment', () => {
  it('lost for ten payments at once is found by two processes, and each is credited once', async () => {
    const payments = await Promise.all(Array.from({ length: 10 }, () => paid('checkout.session.completed')));
    await fill([app, second]);
    await settled(app);
    for (const { topUp } of payments) await expectCreditedOnce(app, topUp);
    const rows = await app.dataSource.query<{ waiting: number }[]>(
      'SELECT count(*)::int AS waiting FROM stripe_events WHERE processed_at IS NULL',
    );
    expect(rows).toEqual([{ waiting: 0 }]);
  });
});
