import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { JobQueue } from '../../src/platform/jobs/job-queue.js';
import { anEvent, deliver, sign } from '../support/payments/stripe-deliveries.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const SECRET = 'whsec_the_secret_of_this_test';

let app: TestApp;

/** No runner: what is stored and queued stays where a test can count it. */
beforeAll(async () => {
  const apiBase = new URL('http://127.0.0.1:9');
  const stripe = { secretKey: 'sk_test_nobody_answers', webhookSecret: SECRET, apiBase };
  app = await startTestApp({ settings: { stripe, runJobs: false } });
});

afterAll(() => app.close());

type StoredEvent = {
  readonly type: string;
  readonly object_id: string | null;
  readonly outcome: string | null;
  readonly payload: string;
};

async function stored(id?: unknown): Promise<StoredEvent[]> {
  return app.dataSource.query<StoredEvent[]>(
    'SELECT type, object_id, outcome, payload::text FROM stripe_events WHERE $1::text IS NULL OR id = $1',
    [id ?? null],
  );
}

async function jobsOf(id: unknown): Promise<number> {
  const rows = await app.dataSource.query<unknown[]>(
    `SELECT FROM graphile_worker._private_jobs WHERE payload->>'event_id' = $1`,
    [id],
  );
  return rows.length;
}

describe('a webhook that Stripe signed', () => {
  it('is stored with its job before it is acknowledged', async () => {
    const event = anEvent({ type: 'checkout.session.completed' });
    const answer = await deliver(app, event);
    expect(answer.expect(200).body).toEqual({ received: true });
    expect(await stored(event['id'])).toEqual([
      {
        type: 'checkout.session.completed',
        object_id: 'cs_test_nobody',
        outcome: null,
        payload: JSON.stringify(event, null, 2),
      },
    ]);
    expect(await jobsOf(event['id'])).toBe(1);
  });

  it('is stored once and queued once, however often and however concurrently it is delivered', async () => {
    const event = anEvent({ type: 'checkout.session.completed' });
    const answers = await Promise.all(Array.from({ length: 20 }, () => deliver(app, event)));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
    (await deliver(app, event)).expect(200);
    expect(await stored(event['id'])).toHaveLength(1);
    expect(await jobsOf(event['id'])).toBe(1);
    // Nor again once the job is done.
    await app.dataSource.query(`DELETE FROM graphile_worker._private_jobs WHERE key = $1`, [event['id']]);
    (await deliver(app, event)).expect(200);
    expect(await jobsOf(event['id'])).toBe(0);
  });

  it('is not acknowledged and not stored when its job cannot be queued; the next delivery makes up for it', async () => {
    const event = anEvent({ type: 'checkout.session.completed' });
    const add = jest.spyOn(app.app.get(JobQueue), 'add').mockRejectedValueOnce(new Error('queue is down'));
    (await deliver(app, event)).expect(500);
    add.mockRestore();
    expect(await stored(event['id'])).toEqual([]);
    (await deliver(app, event)).expect(200);
    expect(await jobsOf(event['id'])).toBe(1);
  });

  it('is stored and acknowledged without a job when nothing here acts on its type', async () => {
    const event = anEvent({ type: 'treasury.inbound_transfer.invented_tomorrow' });
    (await deliver(app, event)).expect(200);
    expect(await stored(event['id'])).toMatchObject([{ outcome: 'ignored' }]);
    expect(await jobsOf(event['id'])).toBe(0);
  });

  it('is understood as a thin event', async () => {
    const event = {
      id: 'evt_thin_1',
      object: 'v2.core.event',
      type: 'v1.checkout.session.completed',
      livemode: false,
      created: '2026-11-22T12:00:00.000Z',
      related_object: {
        id: 'cs_test_thin',
        type: 'checkout.session',
        url: '/v1/checkout/sessions/cs_test_thin',
      },
    };
    (await deliver(app, event)).expect(200);
    expect(await stored(event.id)).toMatchObject([
      { type: 'checkout.session.completed', object_id: 'cs_test_thin', outcome: null },
    ]);
    expect(await jobsOf(event.id)).toBe(1);
  });

  it('is taken at 150 kB and at 900 kB', async () => {
    for (const bytes of [150_000, 900_000]) {
      const event = anEvent({
        data: { object: { id: 'cs_test_big', metadata: { note: 'x'.repeat(bytes) } } },
      });
      (await deliver(app, event)).expect(200);
      expect((await stored(event['id']))[0]?.payload.length).toBeGreaterThan(bytes);
    }
  });

  it('is kept byte for byte: other scripts, escapes, and the U+0000 that jsonb would refuse', async () => {
    const event = anEvent({ data: { object: { id: 'cs_test_odd', name: 'Jürgen 漢字 🪙 \u0000 \ud800' } } });
    const body = JSON.stringify(event);
    (await deliver(app, body)).expect(200);
    expect((await stored(event['id']))[0]?.payload).toBe(body);
  });

  it('is taken when the secret is being rotated: one of two signatures fits', async () => {
    const event = anEvent();
    const body = JSON.stringify(event);
    const signature = sign(app, body).replace(',v1=', `,v1=${'0'.repeat(64)},v1=`);
    (await deliver(app, body, { signature })).expect(200);
    expect(await stored(event['id'])).toHaveLength(1);
  });

  it('is taken when Stripe’s clock and ours differ a little', async () => {
    (await deliver(app, anEvent(), { secondsAhead: 30 })).expect(200);
    (await deliver(app, anEvent(), { secondsAhead: -290 })).expect(200);
  });
});

describe('a webhook that Stripe did not sign, or not now', () => {
  const event = anEvent({ type: 'checkout.session.completed' });
  const body = JSON.stringify(event);
  const now = Math.floor(Date.now() / 1_000);

  const forgeries: readonly (readonly [string, () => ReturnType<typeof deliver>])[] = [
    ['unsigned', () => deliver(app, body, { signature: null })],
    ['with an empty signature', () => deliver(app, body, { signature: '' })],
    ['with nonsense for a signature', () => deliver(app, body, { signature: 'trust me' })],
    ['with a signature of zeros', () => deliver(app, body, { signature: `t=${now},v1=${'0'.repeat(64)}` })],
    ['signed with another secret', () => deliver(app, body, { secret: 'whsec_of_somebody_else' })],
    ['signed with an empty secret', () => deliver(app, body, { secret: ' ' })],
    [
      'signed in an older scheme',
      () => deliver(app, body, { signature: sign(app, body).replace('v1=', 'v0=') }),
    ],
    [
      'signed, then re-serialised',
      () => deliver(app, JSON.stringify(event, null, 1), { signature: sign(app, body) }),
    ],
    ['signed, then one byte longer', () => deliver(app, `${body} `, { signature: sign(app, body) })],
    [
      'signed, then another event',
      () => deliver(app, { ...event, id: 'evt_other' }, { signature: sign(app, body) }),
    ],
    ['replayed after the tolerance', () => deliver(app, body, { secondsAhead: -301 })],
    ['signed a minute and more ahead', () => deliver(app, body, { secondsAhead: 65 })],
    ['signed for next year', () => deliver(app, body, { secondsAhead: 31_536_000 })],
    [
      'signed long ago, with today’s time added',
      () => deliver(app, body, { signature: `${sign(app, body, { secondsAhead: -9_000 })},t=${now}` }),
    ],
    [
      'signed long ago, with today’s time put first',
      () => deliver(app, body, { signature: `t=${now},${sign(app, body, { secondsAhead: -9_000 })}` }),
    ],
    ['with two times', () => deliver(app, body, { signature: `t=${now},${sign(app, body)}` })],
  ];

  it.each(forgeries)('is refused and not stored: %s', async (_what, send) => {
    const answer = await send();
    expect(answer.expect(400).body.error).toMatchObject({
      code: 'invalid_signature',
      type: 'invalid_request_error',
    });
    expect(await stored(event['id'])).toEqual([]);
    expect(await jobsOf(event['id'])).toBe(0);
  });

  it('is refused as text, as a form, as broken JSON and when it is too large, and not stored', async () => {
    const before = (await stored()).length;
    (await deliver(app, body, { contentType: 'text/plain' })).expect(415);
    (await deliver(app, 'a=b', { contentType: 'application/x-www-form-urlencoded' })).expect(415);
    (await deliver(app, '{"id": "evt_1"')).expect(400);
    (await deliver(app, '')).expect(400);
    (await deliver(app, JSON.stringify({ ...event, padding: 'x'.repeat(1_100_000) }))).expect(413);
    expect(await stored()).toHaveLength(before);
  });
});

describe('a well signed body that is no event for this service', () => {
  const bodies: readonly (readonly [string, unknown, string])[] = [
    ['of live mode, while the key is of test mode', anEvent({ livemode: true }), 'livemode'],
    ['without a mode', anEvent({ livemode: undefined }), 'livemode'],
    ['with a mode that is no boolean', anEvent({ livemode: 'false' }), 'livemode'],
    ['without an id', anEvent({ id: undefined }), 'id'],
    ['with an id of something else', anEvent({ id: 'cs_test_1' }), 'id'],
    ['with an id that carries SQL', anEvent({ id: "evt_1'; DROP TABLE stripe_events; --" }), 'id'],
    ['that is another object', anEvent({ object: 'checkout.session' }), 'object'],
    ['without an object', anEvent({ object: undefined }), 'object'],
    ['without a type', anEvent({ type: undefined }), 'type'],
    ['with a type of another shape', anEvent({ type: ['checkout.session.completed'] }), 'type'],
    ['that is an array', [], 'object'],
    ['that is null', null, 'object'],
    ['that is a number', 7, 'object'],
  ];

  it.each(bodies)('is refused and not stored: %s', async (_what, body, param) => {
    const before = (await stored()).length;
    const answer = await deliver(app, body);
    expect(answer.expect(400).body.error).toMatchObject({ code: 'invalid_request', param });
    expect(await stored()).toHaveLength(before);
  });

  it('is stored but not acted on when it does not say what it is about', async () => {
    for (const data of [
      undefined,
      null,
      {},
      { object: null },
      { object: { id: 7 } },
      { object: { id: 'a\u0000b' } },
    ]) {
      const event = anEvent({ type: 'checkout.session.completed', data });
      (await deliver(app, event)).expect(200);
      expect(await stored(event['id'])).toMatchObject([{ object_id: null, outcome: 'ignored' }]);
      expect(await jobsOf(event['id'])).toBe(0);
    }
  });
});
