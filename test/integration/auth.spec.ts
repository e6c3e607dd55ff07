import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { makeApiKey, CREDENTIALS, type Credentials } from '../../src/identity/auth/credentials.js';
import { EnvironmentOperatorKey } from '../../src/identity/auth/auth.guard.js';
import { Public, RouteAccessTable } from '../../src/platform/http/routes.js';
import { RequireScope } from '../../src/identity/auth/require-scope.decorator.js';
import { InvalidSettingsError } from '../../src/platform/config/environment-reader.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { TestClient } from '../support/app/test-client.js';

/** Any route that needs a scope will do; this one says at once whether the key was let in. */
const PROBE = '/v1/api_keys';
/** A key in use is sent this often, by the process's clock. */
const STEP_MS = 50;

let service: TestApp;
/** For authentication, it is a second process on the same database. */
let second: TestApp;

beforeAll(async () => {
  service = await sharedApp();
  second = await sharedTwin();
});
afterEach(() => {
  jest.restoreAllMocks();
  for (const { clock } of [service, second]) clock.reset();
});

async function createKey(
  customer: TestCustomer,
  fields: object = {},
): Promise<{ id: string; secret: string }> {
  const body = { name: 'probe', scopes: ['keys:write'], ...fields };
  const answer = await service.operator.post(`/v1/accounts/${customer.accountId}/api_keys`, body);
  return answer.expect(201).body;
}

/** Counts the questions that reach the database. */
function countLookups(app: TestApp): () => number {
  const find = jest.spyOn(app.app.get<Credentials>(CREDENTIALS), 'findByHashes');
  return () => find.mock.calls.reduce((count, [hashes]) => count + hashes.length, 0);
}

describe('a request without a valid key', () => {
  const refusal = (code: string) => ({
    error: expect.objectContaining({ code, type: 'authentication_error', param: null }),
  });

  it('is refused with that reason when it sends no key, or another scheme than Bearer', async () => {
    for (const authorization of [undefined, '', 'Basic dXNlcjpwYXNz', 'Bearer', makeApiKey('account_key')]) {
      const headers = authorization === undefined ? {} : { authorization };
      const answer = (await service.client(null).get(PROBE, headers)).expect(401);
      expect(answer.body).toEqual(refusal('missing_api_key'));
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    }
  });

  it('gets one and the same text whether the key is malformed or unknown, which never repeats the key', async () => {
    const tokens = [
      'x',
      'sk-cof-tooshort',
      'sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
      `${makeApiKey('account_key')}0`,
      makeApiKey('account_key'),
      makeApiKey('operator_key'),
      'x'.repeat(201),
      'x'.repeat(8_000),
      'two words',
      "' OR 1=1 --",
    ];
    const bodies = new Set<string>();
    for (const token of tokens) {
      const answer = (await service.client(token).get(PROBE)).expect(401);
      expect(answer.body).toEqual(refusal('invalid_api_key'));
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
      bodies.add(JSON.stringify(answer.body));
    }
    expect(bodies.size).toBe(1);
  });

  it('costs the database nothing when the key is malformed, and one look-up when it is unknown', async () => {
    const lookups = countLookups(service);
    const before = lookups();
    for (let index = 0; index < 20; index += 1)
      (await service.client(`sk-cof-${index}`).get(PROBE)).expect(401);
    expect(lookups()).toBe(before);
    const unknown = makeApiKey('account_key');
    for (let index = 0; index < 20; index += 1) (await service.client(unknown).get(PROBE)).expect(401);
    expect(lookups()).toBe(before + 1);
  });

  it('is refused before its body is looked at', async () => {
    (await service.client(null).post('/v1/accounts', { nonsense: true })).expect(401);
    (await service.client(makeApiKey('operator_key')).post('/v1/accounts', { nonsense: true })).expect(401);
  });

  it('is refused with that reason when its key was revoked, and when it expired', async () => {
    const customer = await service.createCustomer();
    const { id, secret } = await createKey(customer);
    await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${id}`);
    expect((await service.client(secret).get(PROBE)).expect(401).body).toEqual(refusal('revoked_api_key'));

    for (const { clock } of [service, second]) clock.stop();
    const expiresAt = Math.trunc(service.clock.nowMs() / 1_000) + 2;
    const brief = await createKey(customer, { expires_at: expiresAt });
    (await service.client(brief.secret).get(PROBE)).expect(200);
    (await second.client(brief.secret).get(PROBE)).expect(200);
    // To the millisecond, although the credential is cached.
    for (const app of [service, second]) {
      app.clock.letPass(expiresAt * 1_000 - 1 - app.clock.nowMs());
      (await app.client(brief.secret).get(PROBE)).expect(200);
      app.clock.letPass(1);
      expect((await app.client(brief.secret).get(PROBE)).expect(401).body).toEqual(
        refusal('expired_api_key'),
      );
    }
    // It expired first and was revoked later: the answer names the revocation.
    await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${brief.id}`);
    expect((await service.client(brief.secret).get(PROBE)).expect(401).body).toEqual(
      refusal('revoked_api_key'),
    );
  });
});

describe('a valid key', () => {
  it('is read whatever the case of the scheme', async () => {
    const { apiKey } = await service.createCustomer();
    for (const authorization of [`Bearer ${apiKey}`, `bearer ${apiKey}`, `BEARER   ${apiKey}`]) {
      (await service.client(null).get(PROBE, { authorization })).expect(200);
    }
  });

  it('of the other kind, or without the scope, is a 403 that names the scope', async () => {
    const customer = await service.createCustomer({ scopes: ['generate'] });
    const cases: [TestClient, string, string, RegExp][] = [
      [customer.client, PROBE, 'keys:write', /an account key with the scope 'keys:write'/],
      [customer.client, '/v1/accounts', 'admin', /an operator key with the scope 'admin'/],
      [service.operator, PROBE, 'keys:write', /an account key with the scope 'keys:write'/],
    ];
    for (const [client, route, scope, message] of cases) {
      const { error } = (await client.get(route)).expect(403).body;
      expect(error).toMatchObject({
        code: 'insufficient_scope',
        type: 'permission_error',
        required_scope: scope,
        message: expect.stringMatching(message),
      });
    }
  });

  it('is looked up once for a burst of simultaneous requests', async () => {
    const customer = await service.createCustomer();
    const { secret } = await createKey(customer);
    service.clock.stop();
    const lookups = countLookups(service);
    const before = lookups();
    const answers = await Promise.all(Array.from({ length: 50 }, () => service.client(secret).get(PROBE)));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(lookups() - before).toBe(1);
  });
});

describe('a revoked key', () => {
  it('is refused everywhere within one second, also by another process that uses it all the time', async () => {
    const customer = await service.createCustomer();
    const keys = await Promise.all(Array.from({ length: 12 }, () => createKey(customer)));

    second.clock.stop();
    for (const [index, { id, secret }] of keys.entries()) {
      const client = second.client(secret);
      const use = async (): Promise<number> => {
        second.clock.letPass(STEP_MS);
        return (await client.get(PROBE)).status;
      };
      (await client.get(PROBE)).expect(200);
      // Revoked at different moments of the cache's period.
      for (let passedMs = 0; passedMs < 300 + index * 90; passedMs += STEP_MS) expect(await use()).toBe(200);
      (await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${id}`)).expect(200);
      let usedMs = 0;
      while (usedMs < 1_000 && (await use()) === 200) usedMs += STEP_MS;
      expect(usedMs).toBeLessThan(1_000);
      expect([await use(), await use()]).toEqual([401, 401]);
    }
  });

  it('is refused at once by the process that revoked it', async () => {
    const customer = await service.createCustomer();
    for (let index = 0; index < 20; index += 1) {
      const { id, secret } = await createKey(customer);
      const client = service.client(secret);
      // Requests are under way while it is revoked: their look-ups must not bring it back.
      const underWay = Array.from({ length: 5 }, () => client.get(PROBE));
      (await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${id}`)).expect(200);
      expect((await client.get(PROBE)).expect(401).body.error.code).toBe('revoked_api_key');
      await Promise.all(underWay);
      expect((await client.get(PROBE)).expect(401).body.error.code).toBe('revoked_api_key');
    }
  });
});

describe('the operator key of the environment', () => {
  const settings = (operatorKey: string | null, environment: 'production' | 'test' = 'test') => ({
    operatorKey,
    environment,
  });

  it('has every operator scope, and is neither stored nor listed', async () => {
    (await service.operator.get('/v1/accounts')).expect(200);
    (await service.operator.get('/v1/operator_keys/key_env')).expect(404);
    const stored = await service.dataSource.query(
      "SELECT count(*) FROM api_keys WHERE hint LIKE 'op-%' AND id = 'key_env'",
    );
    expect(stored[0].count).toBe('0');
  });

  it('must be a whole operator key in production', () => {
    const whole = makeApiKey('operator_key');
    expect(() => new EnvironmentOperatorKey(settings(whole, 'production'))).not.toThrow();
    for (const value of [
      'a long and secret text',
      whole.slice(0, -1),
      makeApiKey('account_key'),
      `${whole}1`,
    ]) {
      expect(() => new EnvironmentOperatorKey(settings(value, 'production'))).toThrow(InvalidSettingsError);
      expect(() => new EnvironmentOperatorKey(settings(value, 'production'))).not.toThrow(value);
    }
  });

  it('may be any text outside production, but not a short one', async () => {
    for (const value of [
      'short',
      'fifteen-letters',
      'has blanks in the text',
      'x'.repeat(201),
      'schlüssel-mit-umlaut',
    ]) {
      expect(() => new EnvironmentOperatorKey(settings(value))).toThrow(InvalidSettingsError);
    }
    const chosen = 'local-operator-secret';
    const app = await startTestApp({ databaseUrl: service.databaseUrl, settings: { operatorKey: chosen } });
    (await app.client(chosen).get('/v1/accounts')).expect(200);
    (await app.client(`${chosen}!`).get('/v1/accounts')).expect(401);
    await app.close();
  });

  it('does not exist when none is configured', async () => {
    const app = await startTestApp({ databaseUrl: service.databaseUrl, settings: { operatorKey: null } });
    (await app.client(service.operatorKey).get('/v1/accounts')).expect(401);
    (await app.client('').get('/v1/accounts')).expect(401);
    await app.close();
  });
});

describe('the access of a route', () => {
  @Controller('open')
  @Public()
  class OpenController {
    @Get()
    read(): string {
      return '';
    }
    @Get('closed')
    @RequireScope('admin')
    closed(): string {
      return '';
    }
  }

  @Controller('closed')
  @RequireScope('wallet:read')
  class ClosedController {
    @Get()
    read(): string {
      return '';
    }
    @Get('open')
    @Public()
    open(): string {
      return '';
    }
    @Get('stricter')
    @RequireScope('wallet:write')
    stricter(): string {
      return '';
    }
  }

  @Controller('forgotten')
  class ForgottenController {
    @Get()
    read(): string {
      return '';
    }
  }

  it('is what its method says, else what its controller says', () => {
    const table = new RouteAccessTable();
    /* eslint-disable @typescript-eslint/unbound-method -- identities only */
    expect(table.get(OpenController, OpenController.prototype.read)).toEqual({ public: true });
    expect(table.get(OpenController, OpenController.prototype.closed)).toEqual({
      public: false,
      scope: 'admin',
    });
    expect(table.get(ClosedController, ClosedController.prototype.read)).toEqual({
      public: false,
      scope: 'wallet:read',
    });
    expect(table.get(ClosedController, ClosedController.prototype.open)).toEqual({ public: true });
    expect(table.get(ClosedController, ClosedController.prototype.stricter)).toMatchObject({
      scope: 'wallet:write',
    });
  });

  it('is refused to every caller when none is declared', () => {
    const table = new RouteAccessTable();
    expect(() => table.get(ForgottenController, ForgottenController.prototype.read)).toThrow(
      /neither @Public/,
    );
    /* eslint-enable @typescript-eslint/unbound-method */
  });

  it('is documented as exactly that scope, with its refusals', () => {
    const document = SwaggerModule.createDocument(service.app, new DocumentBuilder().build());
    const keys = document.paths['/v1/api_keys']?.post;
    expect(keys?.security).toEqual([{ account_key: ['keys:write'] }]);
    expect(Object.keys(keys?.responses ?? {})).toEqual(expect.arrayContaining(['201', '401', '403', '429']));
    expect(document.paths['/v1/accounts']?.get?.security).toEqual([{ operator_key: ['admin'] }]);
    const unauthenticated = keys?.responses['401'] as { content: Record<string, { examples: object }> };
    expect(Object.keys(unauthenticated.content['application/json']?.examples ?? {})).toEqual([
      'missing_api_key',
      'invalid_api_key',
      'revoked_api_key',
      'expired_api_key',
    ]);
  });

  it('asks for a key on every route of the API', () => {
    const document = SwaggerModule.createDocument(service.app, new DocumentBuilder().build());
    const open = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.entries(item as Record<string, { security?: unknown }>)
        .filter(([, operation]) => operation.security === undefined)
        .map(([method]) => `${method} ${path}`),
    );
    // Media is opened by its own signature; what is sold is for everybody to see.
    expect(open.filter((route) => / \/v1\/(?!media\/|catalog\/)/.test(route))).toEqual([]);
  });
});
