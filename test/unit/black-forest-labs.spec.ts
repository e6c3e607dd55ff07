import { describe, expect, it } from '@jest/globals';
import {
  readComplaint,
  readErrorText,
  readRetryAfterSeconds,
  readTask,
  readTaskState,
  toSubmitBody,
  creditsToMicros,
} from '../../src/gateway/images/providers/black-forest-labs.provider.js';
import { ProviderFailure } from '../../src/gateway/images/providers/provider-failure.js';
import { TaskSlots, TrustedHosts } from '../../src/gateway/images/providers/upstream-http.js';

describe('credits of Black Forest Labs', () => {
  it.each([
    [1.5, 15_000n],
    [0, 0n],
    [0.2, 2_000n],
    [1.7, 17_000n],
    [0.1 + 0.2, 3_000n],
    [123_456.789, 1_234_567_890n],
    [0.00004, 0n],
    [0.00005, 1n],
  ])('books %p credits as %p micro-dollars', (credits, micros) => {
    expect(creditsToMicros(credits)).toBe(micros);
  });

  it.each([null, undefined, '1.5', -1, Number.NaN, Number.POSITIVE_INFINITY, 1e30, {}])(
    'books nothing for %p',
    (credits) => {
      expect(creditsToMicros(credits)).toBeNull();
    },
  );
});

describe('where the provider key may go', () => {
  const real = new TrustedHosts(new URL('https://api.bfl.ai'));
  const simulator = new TrustedHosts(new URL('http://127.0.0.1:4010'));

  it.each([
    'https://api.bfl.ai/v1/get_result?id=1',
    'https://api.us3.bfl.ai/v1/get_result?id=1',
    'https://delivery.eu2.bfl.ai/x.png?sig=a',
    'https://bfl.ai/x',
  ])('to %s', (url) => {
    expect(real.parse(url)?.href).toBe(url);
  });

  it.each([
    'http://api.bfl.ai/v1/get_result',
    'https://api.bfl.ai:8443/v1/get_result',
    'https://api.bfl.ai.evil.example/x',
    'https://evilbfl.ai/x',
    'https://bfl.ai@evil.example/x',
    'https://user:pass@api.bfl.ai/x',
    'https://127.0.0.1/x',
    'http://127.0.0.1:4010/x',
    'http://169.254.169.254/latest/meta-data',
    'file:///etc/passwd',
    'javascript:alert(1)',
    '//api.bfl.ai/x',
    '',
  ])('never to %s', (url) => {
    expect(real.parse(url)).toBeNull();
  });

  it('with another base, to that very origin only', () => {
    expect(simulator.parse('http://127.0.0.1:4010/x')).not.toBeNull();
    for (const url of [
      'http://127.0.0.1:4011/x',
      'https://127.0.0.1:4010/x',
      'http://localhost:4010/x',
      'https://api.bfl.ai/x',
    ]) {
      expect(simulator.parse(url)).toBeNull();
    }
  });
});

describe('the documents of Black Forest Labs', () => {
  it('asks for one image with exactly the parameters of the model', () => {
    const body = toSubmitBody({
      upstreamModel: 'flux-2-klein-9b',
      prompt: 'a "fox"',
      width: 64,
      height: 80,
      outputFormat: 'webp',
      moderation: 'low',
      references: [],
    });
    expect(JSON.parse(body)).toEqual({
      prompt: 'a "fox"',
      width: 64,
      height: 80,
      output_format: 'webp',
      safety_tolerance: 4,
    });
  });

  it.each([
    ['Ready', { sample: 'https://delivery.bfl.ai/a' }, 'ready'],
    ['Ready', null, 'failed'],
    ['Ready', { sample: 7 }, 'failed'],
    ['Pending', null, 'pending'],
    ['Request Moderated', null, 'moderated'],
    ['Content Moderated', null, 'moderated'],
    ['Error', null, 'failed'],
    ['Failed', null, 'failed'],
    ['Task not found', null, 'not_found'],
    ['Something new', null, 'pending'],
    [undefined, null, 'pending'],
  ])('reads the status %p with result %p as %s', (status, result, state) => {
    expect(readTaskState({ id: '1', status, result }).state).toBe(state);
  });

  it.each([
    [undefined],
    [null],
    ['text'],
    [[]],
    [{}],
    [{ id: '1' }],
    [{ id: 1, polling_url: 'x' }],
    [{ id: '', polling_url: 'x' }],
  ])('finds no task in %p', (body) => {
    expect(readTask(body)).toBeNull();
  });

  it('shows a customer what is wrong with the own parameters, and nothing else of an upstream error', () => {
    const item = (loc: unknown, msg: unknown) => ({ detail: [{ loc, msg, type: 't' }] });
    expect(readComplaint(item(['body', 'width'], 'too wide'))).toBe('size: too wide');
    expect(readComplaint(item(['body', 'webhook_secret'], 'bfl_secret leaked'))).toBeNull();
    expect(readComplaint({ detail: 'Invalid API key bfl_123' })).toBeNull();
    expect(readComplaint(item(['body', 'constructor'], 'x'))).toBeNull();
  });

  it('finds the error text in detail, message or error', () => {
    expect(readErrorText({ detail: 'a', message: 'b' })).toBe('a');
    expect(readErrorText({ message: 'b', error: 'c' })).toBe('b');
    expect(readErrorText({ error: 'c' })).toBe('c');
    expect(readErrorText({ detail: [{ msg: 'x' }] })).toBe('[{"msg":"x"}]');
    expect(readErrorText('<html>')).toBe('');
  });

  it.each([
    ['5', {}, 5],
    [undefined, { retry_after: 0.2 }, 1],
    ['90', {}, 60],
    ['soon', {}, null],
    [undefined, {}, null],
  ])('waits for %p / %p: %p seconds, never more than a minute', (header, body, seconds) => {
    expect(readRetryAfterSeconds(header, body)).toBe(seconds);
  });
});

describe('the task slots of an upstream account', () => {
  const REQUEST = { owner: 'acct_a', call: 'gen_a' };
  const limits = { slots: 2, waitersMax: 3, waitMaxMs: 40, retryAfterSeconds: 3 };

  it('never runs more tasks at once than there are slots, and runs all of them in order', async () => {
    const slots = new TaskSlots({ ...limits, waitersMax: 100, waitMaxMs: 10_000 });
    let active = 0;
    let most = 0;
    const finished: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        slots
          .run(REQUEST, async () => {
            active += 1;
            most = Math.max(most, active);
            await new Promise((resolve) => setImmediate(resolve));
            active -= 1;
            finished.push(index);
            if (index % 7 === 0) throw new Error('a failing task gives its slot back');
          })
          .catch(() => undefined),
      ),
    );
    expect(most).toBe(2);
    expect(finished).toEqual(Array.from({ length: 50 }, (_, index) => index));
    expect(slots.waiting).toBe(0);
  });

  it('turns callers away at once when the queue is full, and after a short wait when nothing comes free', async () => {
    const slots = new TaskSlots(limits);
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const running = [slots.run(REQUEST, () => held), slots.run(REQUEST, () => held)];
    const queued = [1, 2, 3].map(() =>
      slots.run(REQUEST, () => Promise.resolve('late')).catch((error: unknown) => error),
    );
    const refused = await slots.run(REQUEST, () => Promise.resolve('never')).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ProviderFailure);
    for (const outcome of await Promise.all(queued)) {
      expect(outcome).toMatchObject({ kind: 'saturated', retryAfterSeconds: 3 });
    }
    release();
    await Promise.all(running);
    expect(await slots.run(REQUEST, () => Promise.resolve('free again'))).toBe('free again');
  });
});
