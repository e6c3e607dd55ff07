import { connect } from 'node:net';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { sharedApp } from '../fixtures/shared-app.js';
import { beginRequest } from '../support/app/raw-request.js';
import type { TestApp } from '../support/app/test-app.js';

let service: TestApp;
beforeAll(async () => {
  service = await sharedApp();
});

const JSON_TYPE = { 'content-type': 'application/json' };

describe('every answer', () => {
  it('carries a request id of ours, whatever the client sends', async () => {
    const first = await service.client(null).get('/health/live', { 'x-request-id': 'req_mine' });
    const second = await service.client(null).get('/v1/nowhere');
    expect(first.headers.get('x-request-id')).toMatch(/^req_[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(second.headers.get('x-request-id')).toMatch(/^req_[0-9A-HJKMNP-TV-Z]{26}$/);
    expect(first.headers.get('x-request-id')).not.toBe(second.headers.get('x-request-id'));
  });

  it('is never cached and lets a browser run nothing', async () => {
    const { headers } = await service.operator.get('/v1/accounts');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
    expect(headers.get('strict-transport-security')).toContain('max-age=31536000');
    expect(headers.get('x-powered-by')).toBeNull();
  });
});

describe('garbage is refused with the documented error', () => {
  const refused = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const answer = await service.operator.send('POST', path, { body, headers });
    return { status: answer.status, ...answer.body.error };
  };

  it('a body that is no JSON', async () => {
    expect(await refused('/v1/accounts', '{"name":')).toMatchObject({ status: 400, code: 'malformed_body' });
  });

  it.each(['[]', '"text"', '1', 'null', 'true'])('a body that is no object: %s', async (body) => {
    expect(await refused('/v1/accounts', body)).toMatchObject({ status: 400, code: 'invalid_request' });
  });

  it('a body with a prototype in it', async () => {
    const body = '{"name":"x","__proto__":{"admin":true}}';
    expect(await refused('/v1/accounts', body)).toMatchObject({ status: 400, code: 'malformed_body' });
    const escaped = '{"name":"x","\\u005f_proto__":{"admin":true}}';
    expect(await refused('/v1/accounts', escaped)).toMatchObject({ status: 400 });
  });

  it('an unknown field, by its name', async () => {
    expect(await refused('/v1/accounts', { name: 'x', nmae: 'y' })).toMatchObject({
      status: 400,
      code: 'invalid_request',
      type: 'invalid_request_error',
      param: 'nmae',
    });
  });

  it('a missing and a wrong field, by its name', async () => {
    expect(await refused('/v1/accounts', {})).toMatchObject({ status: 400, param: 'name' });
    expect(await refused('/v1/accounts', { name: 7 })).toMatchObject({ status: 400, param: 'name' });
  });

  it('a body of two megabytes', async () => {
    const answer = await refused('/v1/accounts', { name: 'x'.repeat(2_000_000) });
    expect(answer).toMatchObject({ status: 413, code: 'payload_too_large' });
  });

  it.each([
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
  ])('a body of type %s', async (type) => {
    const answer = await refused('/v1/accounts', 'name=x', { 'content-type': type });
    expect(answer).toMatchObject({ status: 415, code: 'unsupported_media_type' });
  });

  it('an unknown route and a wrong method, which are distinguished', async () => {
    const unknown = await service.operator.get('/v1/nowhere');
    expect(unknown.expect(404).body.error).toMatchObject({
      type: 'not_found',
      code: 'route_not_found',
      param: null,
    });
    const wrong = await service.operator.delete('/v1/accounts');
    expect(wrong.expect(405).body.error).toMatchObject({ code: 'method_not_allowed' });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, POST');
  });

  it.each(['/%zz', '/v1/accounts/%c0%ae', `/v1/accounts/${'a'.repeat(400)}`])('the URL %s', async (path) => {
    const answer = await service.operator.get(path);
    expect([400, 404]).toContain(answer.status);
    expect(answer.body.error.code).toMatch(/^(malformed_url|resource_missing)$/);
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
  });

  it('an empty body where the content type is JSON is an empty object, not a fault of syntax', async () => {
    expect(await refused('/v1/accounts', '', JSON_TYPE)).toMatchObject({ status: 400, param: 'name' });
  });

  it('bytes that are no HTTP, in the same shape', async () => {
    const answer = await speak('NONSENSE\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(answer.slice(answer.indexOf('{')))).toMatchObject({
      error: { code: 'malformed_http' },
    });
    const oversized = await speak(`GET / HTTP/1.1\r\nhost: x\r\ncookie: ${'a'.repeat(40_000)}\r\n\r\n`);
    expect(oversized).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe('a request that is not what HTTP wants', () => {
  it.each([
    ['two hosts', 'GET /health/live HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', 400],
    ['one host twice', 'GET /health/live HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n', 400],
    ['no host', 'GET /health/live HTTP/1.1\r\n\r\n', 400],
    ['an unknown expectation', 'GET /health/live HTTP/1.1\r\nhost: a\r\nexpect: something\r\n\r\n', 417],
  ])('is refused with a body that says why: %s', async (_name, bytes, status) => {
    expect(await beginRequest(service.url, bytes)).toEqual({ status, code: 'malformed_http' });
  });

  it('of HTTP/1.0 needs no host', async () => {
    expect(await beginRequest(service.url, 'GET /health/live HTTP/1.0\r\n\r\n')).toMatchObject({
      status: 200,
    });
  });
});

describe('the pages', () => {
  it.each([
    '/',
    '/docs',
    '/docs/console',
    '/models',
    '/checkout/complete',
    '/alerts/unsubscribe?account=acct_00000000000000000000000000&token=x',
  ])('%s cannot be framed, sends no referrer, and does not share its window', async (path) => {
    const { headers, body } = await service.client(null).get(path);
    expect(headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(String(body)).toContain('<html');
    expect(headers.get('x-frame-options')).toBe('SAMEORIGIN');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
  });

  it.each(['/', '/docs', '/docs/images', '/checkout/complete', '/checkout/canceled'])(
    '%s is plain HTML with the style of all pages: no script, nothing from elsewhere, and a way to the others',
    async (path) => {
      const page = (await service.client(null).get(path)).expect(200);
      const policy = page.headers.get('content-security-policy') ?? '';
      expect(policy).toContain("style-src 'self'");
      expect(policy).not.toMatch(/https?:|unsafe|script-src/);
      const html = String(page.body);
      expect(html).not.toMatch(/<script|<style|\son[a-z]+=|javascript:/);
      const loaded = [...html.matchAll(/<link [^>]*href="([^"]+)"/g)]
        .map(([, target = '']) => target.replace(service.url, ''))
        .concat([...html.matchAll(/<a [^>]*href="([^"#]+)/g)].map(([, target = '']) => target));
      expect(loaded).toContain('/models');
      expect(loaded.filter((target) => !target.startsWith('/'))).toEqual([]);
      for (const target of new Set(loaded)) (await service.client(null).get(target)).expect(200);
    },
  );

  it('let scripts run in one place only, the console, and only our own', async () => {
    const page = (await service.client(null).get('/docs/console')).expect(200);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/https?:|unsafe-eval/);
    const html = String(page.body);
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, target = '']) => target);
    expect(loaded.length).toBeGreaterThan(2);
    expect(loaded.filter((target) => !target.startsWith('/'))).toEqual([]);
    for (const target of loaded) (await service.client(null).get(target)).expect(200);
    // A script inside the page would need a hole in the policy.
    expect(html).not.toMatch(/<script(?![^>]*src=)|\son[a-z]+=|javascript:/);
  });

  it('serve of Swagger UI only what the reference needs', async () => {
    for (const name of [
      'index.html',
      'swagger-initializer.js',
      'oauth2-redirect.html',
      '..%2fpackage.json',
    ]) {
      (await service.client(null).get(`/docs/console/${name}`)).expect(404);
    }
  });

  it('give the document with the address that clients should use', async () => {
    const document = (await service.client(null).get('/openapi.json')).expect(200);
    expect(document.body.servers).toEqual([{ url: service.url }]);
    expect(document.headers.get('access-control-allow-origin')).toBe('*');
  });

  it('give the document compressed, and only to those who do not have it', async () => {
    const read = (headers: Record<string, string>) => fetch(`${service.url}/openapi.json`, { headers });
    const plain = await (await read({ 'accept-encoding': 'identity, gzip;q=0' })).text();
    const tags = new Set<string>();
    for (const encoding of ['identity', 'gzip', 'br']) {
      const answer = await read({ 'accept-encoding': encoding });
      expect(answer.headers.get('content-encoding')).toBe(encoding === 'identity' ? null : encoding);
      expect(answer.headers.get('cache-control')).toMatch(/^public, max-age=[1-9]/);
      expect(answer.headers.get('vary')).toBe('accept-encoding');
      expect(await answer.text()).toBe(plain);
      const sent = Number(answer.headers.get('content-length'));
      expect(sent).toBeLessThan(encoding === 'identity' ? Infinity : plain.length / 8);
      const etag = answer.headers.get('etag') ?? '';
      tags.add(etag);
      const again = await read({ 'accept-encoding': encoding, 'if-none-match': etag });
      expect([again.status, await again.text()]).toEqual([304, '']);
    }
    expect(tags.size).toBe(3);
  });

  it('say that parts are simulated exactly when they are', async () => {
    // Here nothing is simulated: the parts are configured, at addresses where no server answers.
    const page = await service.client(null).get('/');
    expect(page.body).not.toContain('Sandbox');
    expect(page.headers.get('x-coffer-sandbox')).toBeNull();
  });
});

function speak(bytes: string): Promise<string> {
  const { port, hostname } = new URL(service.url);
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.on('data', (chunk) => (received += chunk.toString()));
    socket.on('close', () => resolve(received));
    socket.on('error', reject);
  });
}
