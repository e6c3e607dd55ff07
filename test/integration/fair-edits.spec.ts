import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { publishCatalog } from '../../src/gateway/catalog/versions/catalog-versions.js';
import { parseCatalog } from '../../src/gateway/catalog/versions/parse-catalog.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { EDIT_BODY_BYTES_MAX } from '../../src/gateway/images/edits/edit-body.js';
import { generationLimits } from '../../src/gateway/images/calls/generation-limits.js';
import { conversions } from '../../src/gateway/images/media/conversions.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { balancesOf, MODEL, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { occupyDecoder, type BusyDecoder } from '../support/images/busy-decoder.js';
import { form, FORM_TYPE, image, plain, RED } from '../support/images/edit-bodies.js';
import { EditSender, FIELDS, picture } from '../support/images/edits.js';
import { attach, makeProviderKey } from '../support/images/provider-keys.js';
import { eventually } from '../support/processes.js';

const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';
/** More pixels than the model looks at: it has to be decoded. */
const LARGE = await plain(RED, 2_100, 2_000).png().toBuffer();

let service: TestApp;
let paying: TestCustomer;
let decoder: BusyDecoder | null = null;
const sockets: Socket[] = [];

beforeAll(async () => {
  service = await startTestApp({
    blackForestLabs: true,
    settings: { rateLimit: false, webhookLoopback: true },
  });
  paying = await service.createCustomer({ grantMicros: 4_000_000n });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await decoder?.endAll();
  decoder = null;
  setLimits(service, { editPaceMs: generationLimits.editPaceMs });
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.close();
});

const editsOf = ({ apiKey }: Pick<TestCustomer, 'apiKey'>) => new EditSender(service.url, apiKey);
const submits = () => service.blackForestLabs?.control.counts().submits ?? 0;

/** Announces the largest body, sends one byte of it, and answers what the service says, when it says it. */
function beginEdit({ apiKey }: Pick<TestCustomer, 'apiKey'>): Promise<string> {
  const { port, hostname } = new URL(service.url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(
        `POST /v1/images/edits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n` +
          `content-type: ${FORM_TYPE}\r\ncontent-length: ${EDIT_BODY_BYTES_MAX}\r\n\r\n-`,
      );
    });
    sockets.push(socket);
    let received = '';
    socket.on('data', (chunk) => (received += chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(received));
  });
}

/** Resolves when the service has begun so many edits more. */
async function edits(count: number, begin: () => void): Promise<void> {
  const server = service.app.getHttpServer() as NodeJS.EventEmitter;
  let begun = 0;
  const listener = (): void => void (begun += 1);
  server.on('request', listener);
  begin();
  await eventually('the edits have begun', () => Promise.resolve(begun >= count));
  server.off('request', listener);
}

describe('edits that are announced and never sent', () => {
  it.each([
    ['have no credit', 0n],
    ['have credit', 1_000_000n],
  ])('keep no other account’s edits away: two accounts that %s', async (_what, grantMicros) => {
    const hostile = [
      await service.createCustomer({ grantMicros }),
      await service.createCustomer({ grantMicros }),
    ];
    await edits(8, () => {
      for (const account of [...hostile, ...hostile, ...hostile, ...hostile]) void beginEdit(account);
    });
    (await editsOf(paying).form([image(picture(0))])).expect(200);
    (await editsOf(paying).form([image(LARGE)])).expect(200);
  });

  it('are answered 408 when they are too slow, charged nothing, and their connections are closed', async () => {
    setLimits(service, { editPaceMs: 20 });
    const answer = await beginEdit(paying);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"code":"body_too_slow"');
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
    expect(answer).toContain('Nothing was charged');
  });
});

describe('edits whose images have to be decoded', () => {
  it('take turns by account: one account’s images do not hold up another’s', async () => {
    decoder = await occupyDecoder('acct_with_many_edits', 20);
    const before = decoder.begun();
    const edit = editsOf(paying).form([image(LARGE)]);
    await eventually('it waits', () => Promise.resolve(conversions.countWaiting(paying.accountId) === 1));
    await decoder.endOne();
    (await edit).expect(200);
    // The slot that it had went on to the others when it was through, and no other one was free.
    expect(decoder.begun() - before).toBeLessThanOrEqual(1);
  });

  it('are forgotten when their client leaves, before anything is held or asked of a provider', async () => {
    decoder = await occupyDecoder('acct_with_many_edits', 2);
    const before = { balances: await balancesOf(paying), submits: submits() };
    const client = new AbortController();
    const left = fetch(`${service.url}/v1/images/edits`, {
      method: 'POST',
      headers: { authorization: `Bearer ${paying.apiKey}`, 'content-type': FORM_TYPE },
      body: form([...FIELDS, image(LARGE)]),
      signal: client.signal,
    });
    await eventually('it waits', () => Promise.resolve(conversions.countWaiting(paying.accountId) === 1));
    client.abort();
    await expect(left).rejects.toThrow();
    await eventually('it is forgotten', () =>
      Promise.resolve(conversions.countWaiting(paying.accountId) === 0),
    );
    await decoder.endAll();
    (await editsOf(paying).form([image(picture(0))])).expect(200);
    expect(await balancesOf(paying)).toMatchObject({ available: before.balances.available - PRICE_MICROS });
    expect(submits() - before.submits).toBe(1);
  });
});

describe('an account without credit', () => {
  it('is refused before an image of its edit is decoded or fetched, as its hold would be', async () => {
    decoder = await occupyDecoder('acct_with_many_edits', 2);
    const poor = await service.createCustomer({ grantMicros: PRICE_MICROS - 1n });
    const answer = await editsOf(poor).form([image(LARGE)]);
    const { error } = answer.expect(402).body;
    expect(error).toMatchObject({
      code: 'insufficient_credits',
      charged_micros: '0',
      required_micros: '40000',
      available_micros: '39999',
      shortfall_micros: '1',
      limit_source: 'wallet',
      top_up_url: expect.stringContaining('/v1/top_ups'),
    });
    const unreachable = [{ image_url: `${service.url}/v1/media/none.png` }];
    (await editsOf(poor).json({ images: unreachable })).expect(402);
  });

  it('is refused the same way when it is the key that has a limit, or the wallet is frozen', async () => {
    decoder = await occupyDecoder('acct_with_many_edits', 2);
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const wanted = { name: 'limited', scopes: ['generate'], spend_limits: { total_micros: '1' } };
    const made = (await customer.client.post('/v1/api_keys', wanted)).expect(201);
    const limited = await editsOf({ apiKey: made.body.secret }).form([image(LARGE)]);
    expect(limited.expect(402).body.error).toMatchObject({ code: 'key_limit_reached', limit_source: 'key' });
    const freeze = { reason: 'a test' };
    (await service.operator.post(`/v1/accounts/${customer.accountId}/freeze`, freeze)).expect(200);
    const frozen = await editsOf(customer).form([image(LARGE)]);
    expect(frozen.expect(402).body.error).toMatchObject({ code: 'wallet_frozen' });
  });

  it('still edits with a free model, over its own provider key, and has its paid answers repeated', async () => {
    const customer = await service.createCustomer({ grantMicros: PRICE_MICROS });
    const keyed = { headers: { 'idempotency-key': 'once' } };
    const first = (await editsOf(customer).form([image(picture(0))], keyed)).expect(200);
    expect((await balancesOf(customer)).available).toBe(0n);
    (await editsOf(customer).form([image(picture(0))])).expect(402);
    const again = (await editsOf(customer).form([image(picture(0))], keyed)).expect(200);
    expect(again.body).toEqual(first.body);
    const free = form([
      { name: 'model', content: FREE_MODEL },
      { name: 'prompt', content: 'a fox' },
      image(picture(0)),
    ]);
    (await editsOf(customer).send(free)).expect(200);
    await attach(customer, makeProviderKey(service));
    (await editsOf(customer).form([image(picture(0))])).expect(200);
  });

  it('is refused before its body is read where no model that edits is free', async () => {
    const poor = await service.createCustomer();
    await publishWithout(FREE_MODEL);
    const refused = await beginEditUntilAnswer(poor);
    expect(refused).toMatch(/^HTTP\/1\.1 402 /);
    expect(refused).toContain('"code":"insufficient_credits"');
  });
});

/** As `beginEdit`, for a connection that stays open: answers the first bytes that come. */
function beginEditUntilAnswer(customer: TestCustomer): Promise<string> {
  return new Promise((resolve) => {
    void beginEdit(customer);
    sockets.at(-1)?.once('data', (chunk) => resolve(chunk.toString()));
  });
}

async function publishWithout(model: string): Promise<void> {
  const { document, catalog } = await readCatalogFile();
  const { models, ...rest } = document as { models: Record<string, unknown>[] };
  const left = models.filter(({ id }) => id !== model);
  const next = { ...rest, version: catalog.version + 1, models: left };
  const publication = { document: next, catalog: parseCatalog(next), after: catalog.version };
  await service.app
    .get(TransactionRunner)
    .run((tx) => publishCatalog(tx, { ...publication, publishedBy: 'test', nowMs: Date.now() }));
  await eventually('the service knows the models', async () => {
    const { body } = (await paying.client.get('/v1/models')).expect(200);
    return body.data.every(({ id }: { id: string }) => id === MODEL);
  });
}
