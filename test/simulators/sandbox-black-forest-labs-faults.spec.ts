import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { eventually } from '../support/processes.js';
import { BlackForestLabsDriver } from '../support/images/black-forest-labs-driver.js';

let driver: BlackForestLabsDriver;

beforeEach(async () => {
  driver = await BlackForestLabsDriver.start();
});

afterEach(() => driver.close());

describe('failures on demand, by a directive in the prompt', () => {
  it.each([
    ['moderated', 'Request Moderated'],
    ['content_moderated', 'Content Moderated'],
    ['error', 'Error'],
    ['not_found', 'Task not found'],
    ['hang', 'Pending'],
  ])('[sandbox:%s] ends as %s, without a result', async (directive, status) => {
    expect(await driver.resultOf(`a cat [sandbox:${directive}]`)).toMatchObject({ status, result: null });
  });

  it('gives the reasons of a moderation', async () => {
    const { details } = await driver.resultOf('[sandbox:moderated]');
    expect(details).toEqual({ 'Moderation Reasons': [expect.any(String)] });
  });

  it('[sandbox:slow=…] stays pending for that long', async () => {
    const task = await driver.submit('cat [sandbox:slow=200]');
    expect((await driver.get(task.polling_url)).body.status).toBe('Pending');
    driver.letPass(250);
    expect((await driver.get(task.polling_url)).body.status).toBe('Ready');
  });

  it.each([400, 402, 403, 422, 429, 500, 503])(
    '[sandbox:submit=%d] is refused and costs nothing',
    async (status) => {
      expect((await driver.post({ prompt: `cat [sandbox:submit=${status}]` })).status).toBe(status);
      expect(driver.sandbox.control.counts()).toMatchObject({ submits: 1, tasks: 0 });
      expect(driver.sandbox.control.countsOf('bfl_test').creditsUsed).toBe(0);
    },
  );

  it('[sandbox:submit=lost] makes and charges the task, and the client never learns of it', async () => {
    await expect(driver.post({ prompt: 'cat [sandbox:submit=lost]' })).rejects.toThrow();
    expect(driver.sandbox.control.counts().tasks).toBe(1);
    await expect(driver.post({ prompt: 'cat [sandbox:submit=reset]' })).rejects.toThrow();
    expect(driver.sandbox.control.counts().tasks).toBe(1);
  });

  it('[sandbox:submit=hang] never answers, and does not keep the simulator from closing', async () => {
    let outcome: 'silent' | 'answered' | 'broken' = 'silent';
    const hanging = driver.post({ prompt: 'cat [sandbox:submit=hang]' }).then(
      () => (outcome = 'answered'),
      () => (outcome = 'broken'),
    );
    await eventually('it has come in', () => driver.sandbox.control.counts().submits === 1);
    // Those that come later are answered, from the submit to the picture.
    const { result } = await driver.resultOf('cat');
    await driver.download(result.sample);
    driver.letPass(3_600_000);
    await driver.resultOf('cat');
    expect(outcome).toBe('silent');
    await driver.sandbox.close();
    expect(await hanging).toBe('broken');
  });

  it('[sandbox:poll=503] troubles three polls and then shows the result', async () => {
    const { polling_url: pollingUrl } = await driver.submit('cat [sandbox:poll=503]');
    const statuses: number[] = [];
    for (let polls = 0; polls < 4; polls += 1) statuses.push((await driver.get(pollingUrl)).status);
    expect(statuses).toEqual([503, 503, 503, 200]);
  });

  it.each([
    ['result_404', 404],
    ['download=500', 500],
  ])('[sandbox:%s] answers the download with %d', async (directive, status) => {
    const { result } = await driver.resultOf(`cat [sandbox:${directive}]`);
    expect((await fetch(result.sample)).status).toBe(status);
  });

  it('[sandbox:download=reset] breaks off in the middle of the picture', async () => {
    const { result } = await driver.resultOf('cat [sandbox:download=reset]');
    const response = await fetch(result.sample);
    await expect(response.arrayBuffer()).rejects.toThrow();
  });

  it.each(['truncated', 'not_image'])('[sandbox:%s] delivers bytes that do not decode', async (directive) => {
    const { result } = await driver.resultOf(`cat [sandbox:${directive}]`);
    const bytes = Buffer.from(await (await fetch(result.sample)).arrayBuffer());
    await expect(sharp(bytes, { failOn: 'truncated' }).raw().toBuffer()).rejects.toThrow();
  });

  it('[sandbox:wrong_size] delivers a picture that is not the asked one', async () => {
    const { result } = await driver.resultOf('cat [sandbox:wrong_size]');
    const bytes = await (await fetch(result.sample)).arrayBuffer();
    expect(await sharp(Buffer.from(bytes)).metadata()).toMatchObject({ width: 272, height: 128 });
  });

  it('with every=3 hits one image of three', async () => {
    const statuses: string[] = [];
    for (let images = 0; images < 6; images += 1) {
      statuses.push((await driver.resultOf('cat [sandbox:error, every=3]')).status);
    }
    expect(statuses).toEqual(['Ready', 'Ready', 'Error', 'Ready', 'Ready', 'Error']);
  });

  it('combines directives', async () => {
    const { polling_url: pollingUrl } = await driver.submit('[sandbox:slow=100] cat [sandbox:error]');
    expect((await driver.get(pollingUrl)).body.status).toBe('Pending');
    driver.letPass(130);
    expect((await driver.get(pollingUrl)).body.status).toBe('Error');
  });
});

describe('failures on demand, from outside', () => {
  it('hits the next so many tasks, or all until cleared', async () => {
    driver.sandbox.control.fail('error', 2);
    const statuses = [];
    for (let images = 0; images < 3; images += 1) statuses.push((await driver.resultOf('cat')).status);
    expect(statuses).toEqual(['Error', 'Error', 'Ready']);
    driver.sandbox.control.fail('submit=503');
    expect((await driver.post({ prompt: 'cat' })).status).toBe(503);
    driver.sandbox.control.clearFaults();
    expect((await driver.post({ prompt: 'cat' })).status).toBe(200);
    expect(() => driver.sandbox.control.fail('eror')).toThrow(RangeError);
  });

  it('offers the same over HTTP, and refuses controls it does not know', async () => {
    const control = async (method: string, path: string, body?: unknown) => {
      const response = await fetch(`${driver.sandbox.baseUrl}/_sandbox/${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    };
    expect((await control('POST', 'faults', { directive: 'moderated', times: 1 })).status).toBe(200);
    expect((await driver.resultOf('cat')).status).toBe('Request Moderated');
    await control('POST', 'faults', { directive: 'error' });
    expect((await control('DELETE', 'faults')).status).toBe(200);
    expect((await driver.resultOf('cat')).status).toBe('Ready');
    await control('POST', 'settings', { latency_ms: 60_000, active_tasks_max: 1 });
    expect((await driver.resultOf('cat')).status).toBe('Pending');
    expect((await driver.post({ prompt: 'cat' })).status).toBe(429);
    await control('POST', 'credits', { api_key: 'bfl_test', credits: 0 });
    expect((await driver.post({ prompt: 'cat' })).status).toBe(402);
    expect((await control('GET', 'counts')).body).toMatchObject({ submits: 5, tasks: 3 });
    expect((await control('POST', 'faults', { directive: 'eror' })).status).toBe(400);
    expect((await control('POST', 'faults', { directiv: 'error' })).status).toBe(400);
    expect((await control('POST', 'settings', { latency_ms: -1 })).status).toBe(400);
  });
});
