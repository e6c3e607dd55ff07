import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { REFERENCE_BYTES_MAX } from '../../src/gateway/images/edits/arriving-image.js';
import { InvalidImageError } from '../../src/gateway/images/edits/edit.errors.js';
import { ReferenceFetcherService } from '../../src/gateway/images/edits/reference-fetcher.service.js';
import type { HostResolver } from '../../src/platform/egress/outside-hosts.js';

const IMAGE = Buffer.from('an image');
const QUICK_MS = 400;

let server: Server;
let base: string;
let asked: string[];
let answer: (response: ServerResponse, path: string) => void;

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    answer(response, request.url ?? '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  asked = [];
  answer = (response) => response.end(IMAGE);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function fetcher(addresses: readonly string[] = [], webhookLoopback = true): ReferenceFetcherService {
  const resolver: HostResolver = { resolve: () => Promise.resolve(addresses) };
  return new ReferenceFetcherService({ webhookLoopback }, resolver);
}

async function fault(url: string, by = fetcher(), timeoutMs?: number): Promise<string> {
  const error: unknown = await by.fetch(url, 'images[1].image_url', undefined, timeoutMs).then(
    () => new Error('it was fetched'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof InvalidImageError)) throw error;
  expect(error).toMatchObject({ param: 'images[1].image_url', code: 'invalid_image', status: 400 });
  expect(error.message).toContain('Nothing was charged.');
  return error.message;
}

describe('a reference image that is named by URL', () => {
  it('is fetched once, and through the redirects of its host', async () => {
    expect(await fetcher().fetch(`${base}/a.png`, 'x')).toEqual(IMAGE);
    answer = (response, path) => {
      if (path === '/c') response.end(IMAGE);
      else response.writeHead(302, { location: path === '/a' ? '/b' : `${base}/c` }).end();
    };
    expect(await fetcher().fetch(`${base}/a`, 'x')).toEqual(IMAGE);
    expect(asked).toEqual(['/a.png', '/a', '/b', '/c']);
  });

  it.each([
    'http://example.com/a.png',
    'https://169.254.169.254/latest/meta-data',
    'https://10.0.0.1/a.png',
    'https://[::ffff:127.0.0.1]/a.png',
    'https://user:secret@example.com/a.png',
    'https://example.com:22/',
    'https://metadata.google.internal/',
    'ftp://example.com/a.png',
    'file:///etc/passwd',
    'a.png',
    '',
  ])('at %p is refused before anything is sent', async (url) => {
    expect(await fault(url)).toMatch(/must be a data URL, or an https URL on the public internet/);
  });

  it.each([[['10.0.0.1']], [['127.0.0.1']], [['93.184.216.34', '192.168.1.1']], [['fd00::1']]])(
    'is refused when its name leads to %p',
    async (addresses) => {
      expect(await fault('https://example.com/a.png', fetcher(addresses))).toMatch(/must be a data URL/);
      expect(asked).toEqual([]);
    },
  );

  it('on this machine is refused unless that is switched on', async () => {
    expect(await fault(`${base}/a.png`, fetcher([], false))).toMatch(/must be a data URL/);
    expect(asked).toEqual([]);
  });

  it.each(['https://10.0.0.1/', 'http://example.com/', 'file:///etc/passwd', 'gopher://127.0.0.1/'])(
    'that redirects to %s is refused at that hop',
    async (location) => {
      answer = (response) => response.writeHead(302, { location }).end();
      expect(await fault(`${base}/a`)).toMatch(/must be a data URL/);
      expect(asked).toEqual(['/a']);
    },
  );

  it('that redirects without end, hangs, breaks off, is missing or too large ends as a 400 that names it', async () => {
    answer = (response) => response.writeHead(302, { location: '/again' }).end();
    expect(await fault(base)).toMatch(/redirects too often/);
    expect(asked).toHaveLength(4);
    answer = () => undefined;
    expect(await fault(base, fetcher(), QUICK_MS)).toMatch(/did not arrive in time/);
    answer = (response) => response.writeHead(200).write('half');
    expect(await fault(base, fetcher(), QUICK_MS)).toMatch(/did not arrive in time/);
    answer = (response) =>
      response.writeHead(200, { 'content-length': 100 }).write('half', () => response.destroy());
    expect(await fault(base)).toMatch(/could not be fetched/);
    answer = (response) => response.writeHead(404).end('<html>secret of an inner page</html>');
    expect(await fault(base)).toMatch(/its host answered 404\. /);
    answer = (response) => response.end(Buffer.alloc(REFERENCE_BYTES_MAX + 1));
    expect(await fault(base)).toMatch(/has more than 20971520 bytes/);
    expect(await fault('http://127.0.0.1:9/')).toMatch(/must be a data URL|could not be fetched/);
  });
});
