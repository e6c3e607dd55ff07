import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { S3Settings } from '../../../src/platform/config/settings.js';
import { signatureFault } from './s3-signature.js';

type StoredObject = { readonly body: Buffer; readonly contentType: string };

/**
 * What S3 does instead of its work. `slow_down`: 503, as when it is busy; `reset`: cuts the connection after it
 * has read the request; `lost_answer`: does its work and cuts then; `truncate`: half of the body; `stall`: half of
 * it and then nothing; `silence`: never answers; `refuse`: 403.
 */
export type S3Fault = 'slow_down' | 'reset' | 'lost_answer' | 'truncate' | 'stall' | 'silence' | 'refuse';

export type S3Request = { readonly method: string; readonly path: string; readonly bytes: number };

/** S3's own limit of a page and of a batch. */
const BATCH_MAX = 1_000;

/**
 * A bucket as S3 serves it over HTTP: objects, listing by pages, deletion by batches, errors as XML. It verifies every
 * signature and checksum by its own code, and fails as S3 does when a test asks for it. Nothing of a kind was found that
 * is maintained and light: Debian has no such server, `s3rver` hangs on packages of 2020.
 */
export class S3Simulator {
  readonly objects = new Map<string, StoredObject>();
  readonly requests: S3Request[] = [];
  private readonly faults: { readonly fault: S3Fault; readonly method: string | null; times: number }[] = [];

  private constructor(
    private readonly server: Server,
    readonly settings: S3Settings & { readonly accessKey: { readonly id: string; readonly secret: string } },
  ) {}

  static async start(options: Partial<S3Settings> = {}): Promise<S3Simulator> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const simulator = new S3Simulator(server, {
      bucket: 'coffer-media',
      region: 'eu-central-1',
      prefix: 'images/',
      ...options,
      endpoint: new URL(`http://127.0.0.1:${port}`),
      accessKey: { id: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`, secret: s3Secret() },
    });
    server.on('request', (request, response) => {
      simulator.answer(request, response).catch(() => request.socket.destroy());
    });
    return simulator;
  }

  /** The next `times` requests (of this method) meet this fault. */
  fail(fault: S3Fault, times = 1, method: string | null = null): void {
    this.faults.push({ fault, times, method });
  }

  /** Ends all faults, so that requests succeed again. */
  clearFaults(): void {
    this.faults.length = 0;
  }

  async close(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    if (this.server.listening) await once(this.server, 'close');
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const url = new URL(request.url ?? '/', 'http://s3');
    const method = request.method ?? '';
    this.requests.push({ method, path: request.url ?? '', bytes: body.length });
    const fault = this.takeFault(method);
    if (fault === 'silence') return;
    if (fault === 'reset') return void request.socket.destroy();
    if (fault === 'slow_down') return sendError(response, 503, 'SlowDown');
    const refusal =
      fault === 'refuse'
        ? 'AccessDenied'
        : signatureFault(request, body, {
            accessKeyId: this.settings.accessKey.id,
            secret: this.settings.accessKey.secret,
            region: this.settings.region,
          });
    if (refusal !== null) return sendError(response, 403, refusal, this.settings.accessKey.id);
    if (fault === 'lost_answer') {
      this.serve(method, url, request, body, new NoResponse());
      return void request.socket.destroy();
    }
    if (fault === 'truncate' || fault === 'stall') return this.sendHalf(url, response, fault);
    this.serve(method, url, request, body, response);
  }

  private takeFault(method: string): S3Fault | null {
    const index = this.faults.findIndex((one) => one.method === null || one.method === method);
    const found = this.faults[index];
    if (found === undefined) return null;
    found.times -= 1;
    if (found.times <= 0) this.faults.splice(index, 1);
    return found.fault;
  }

  private serve(
    method: string,
    url: URL,
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse | NoResponse,
  ): void {
    const [, bucket = '', ...parts] = decodeURIComponent(url.pathname).split('/');
    if (bucket !== this.settings.bucket) return sendError(response, 404, 'NoSuchBucket');
    const key = parts.join('/');
    if (key === '' && method === 'GET') return this.list(url.searchParams, response);
    if (key === '' && method === 'POST' && url.searchParams.has('delete')) {
      return this.removeAll(request, body, response);
    }
    if (method === 'PUT') return this.put(key, request, body, response);
    if (method === 'DELETE') {
      this.objects.delete(key);
      return send(response, 204, '');
    }
    const found = this.objects.get(key);
    if (found === undefined) return sendError(response, 404, 'NoSuchKey');
    response.writeHead(200, {
      'content-type': found.contentType,
      'content-length': found.body.length,
      etag: `"${md5(found.body, 'hex')}"`,
    });
    response.end(method === 'HEAD' ? undefined : found.body);
  }

  private put(
    key: string,
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse | NoResponse,
  ): void {
    if (request.headers['content-md5'] !== md5(body, 'base64')) return sendError(response, 400, 'BadDigest');
    this.objects.set(key, { body, contentType: request.headers['content-type'] ?? '' });
    send(response, 200, '');
  }

  private sendHalf(url: URL, response: ServerResponse, fault: 'truncate' | 'stall'): void {
    const key = decodeURIComponent(url.pathname).split('/').slice(2).join('/');
    const { body } = this.objects.get(key) ?? { body: Buffer.alloc(0) };
    response.writeHead(200, { 'content-length': body.length });
    response.write(body.subarray(0, body.length / 2), () => {
      if (fault === 'truncate') response.socket?.destroy();
    });
  }

  private list(query: URLSearchParams, response: ServerResponse | NoResponse): void {
    const prefix = query.get('prefix') ?? '';
    const delimiter = query.get('delimiter');
    const after = query.get('continuation-token') ?? '';
    const max = Math.min(Number(query.get('max-keys') ?? BATCH_MAX), BATCH_MAX);
    const entries = new Set<string>();
    for (const key of [...this.objects.keys()].filter((one) => one.startsWith(prefix)).sort()) {
      const end = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
      entries.add(end === -1 ? key : key.slice(0, end + 1));
    }
    const rest = [...entries].filter((entry) => entry > after);
    const page = rest.slice(0, max);
    const isTruncated = rest.length > max;
    const listed = page.map((entry) =>
      delimiter !== null && entry.endsWith(delimiter)
        ? `<CommonPrefixes><Prefix>${entry}</Prefix></CommonPrefixes>`
        : `<Contents><Key>${entry}</Key><Size>${this.objects.get(entry)?.body.length}</Size></Contents>`,
    );
    const next = isTruncated ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    send(
      response,
      200,
      `<ListBucketResult><IsTruncated>${isTruncated}</IsTruncated>${next}${listed.join('')}</ListBucketResult>`,
    );
  }

  private removeAll(request: IncomingMessage, body: Buffer, response: ServerResponse | NoResponse): void {
    const hasChecksum =
      'content-md5' in request.headers ||
      Object.keys(request.headers).some((name) => /^x-amz-checksum-(crc|sha)/.test(name));
    if (!hasChecksum) return sendError(response, 400, 'InvalidRequest');
    const keys = [...body.toString().matchAll(/<Key>([^<]+)<\/Key>/g)].map(([, key = '']) => key);
    if (keys.length > BATCH_MAX) return sendError(response, 400, 'MalformedXML');
    for (const key of keys) this.objects.delete(key);
    send(response, 200, '<DeleteResult></DeleteResult>');
  }
}

/** Where the answer goes that no one gets. */
class NoResponse {
  writeHead(): void {}
  end(): void {}
}

/** Of the form that Amazon's secrets have: 40 characters of base64. */
function s3Secret(): string {
  return randomBytes(30).toString('base64');
}

function sendError(
  response: ServerResponse | NoResponse,
  status: number,
  code: string,
  accessKeyId = '',
): void {
  // As Amazon does: the access key's id is returned, and must not end up in a log.
  const details = accessKeyId === '' ? '' : `<AWSAccessKeyId>${accessKeyId}</AWSAccessKeyId>`;
  send(response, status, `<Error><Code>${code}</Code><Message>No: ${code}.</Message>${details}</Error>`);
}

function send(response: ServerResponse | NoResponse, status: number, xml: string): void {
  response.writeHead(status, { 'content-type': 'application/xml', 'x-amz-request-id': 'SIMULATED' });
  response.end(xml === '' ? undefined : `<?xml version="1.0" encoding="UTF-8"?>\n${xml}`);
}

function md5(data: Buffer, encoding: 'hex' | 'base64'): string {
  return createHash('md5').update(data).digest(encoding);
}
