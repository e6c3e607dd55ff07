import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { expectBooksToBalance } from '../fixtures/books.js';
import { RETURN_HISTORIES, type Left, type Step } from '../support/payments/return-histories.js';
import { MOVED_DISPUTE_HISTORIES } from '../support/payments/moved-dispute-histories.js';
import { beginHistory } from '../support/payments/return-history.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled, startTopUp } from '../fixtures/top-up-books.js';

const PLAYERS = 6;
const HISTORIES = [...RETURN_HISTORIES, ...MOVED_DISPUTE_HISTORIES];

describe('what goes back', () => {
  let app: TestApp;
  let control: SandboxStripeControl;

  beforeAll(async () => {
    app = await startTestApp({ stripe: true });
    if (app.stripe === null) throw new Error('this test needs the sandbox');
    control = app.stripe.control;
  });

  afterEach(() => control.clearFaults());

  afterAll(async () => {
    await settled(app);
    await expectBooksToBalance(app.dataSource);
    await app.close();
  });

  it('is found for a payment that is disputed before its own event has come', async () => {
    const topUp = await startTopUp(app);
    // Stripe's test card that is disputed at once: the dispute's events come first.
    await control.pay(topUp.sessionId, '4000000000000259');
    await settled(app);
    const { body } = (await topUp.customer.client.get('/v1/wallet')).expect(200);
    expect(body).toMatchObject({ status: 'frozen', posted_micros: '0', debt_micros: '0' });
  });

  describe.each([
    ['as they come', {}],
    ['three times and out of order', { copies: 3, reorder: true }],
  ])('when events come %s', (_how, faults) => {
    const left = new Map<string, unknown>();

    // They run concurrently: each has a customer of its own, and most of the time is spent waiting for events.
    beforeAll(async () => {
      control.setWebhookFaults(faults);
      const waiting = [...HISTORIES];
      const player = async (): Promise<void> => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const [name, steps] = next;
          left.set(name, await play(steps).catch((error: unknown) => error));
        }
      };
      await Promise.all(Array.from({ length: PLAYERS }, player));
    });

    it.each(HISTORIES)('leaves exactly its transfers: %s', (name, _steps, expected) => {
      expect(left.get(name)).toEqual({ debt: 0, status: 'active', ...expected });
    });
  });

  async function play(steps: readonly Step[]): Promise<Left> {
    const history = await beginHistory(app, control);
    for (const step of steps) await history.take(step);
    return history.left();
  }
});
