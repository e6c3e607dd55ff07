/* eslint-disable @typescript-eslint/no-explicit-any -- answers are inspected as plain JSON */
import { Agent, type IncomingHttpHeaders } from 'node:http';
import request, { type Response, type Test } from 'supertest';
import { recordError, rememberSecret, rememberSecretsIn } from './run-log.js';

export type SendOptions = {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
};

/** One answer. `body` is the parsed JSON, or the text when it is no JSON. */
export class TestAnswer {
  constructor(
    readonly status: number,
    readonly headers: Headers,
    readonly body: any,
  ) {}

  /** Fails with the answer's body when the status is another one, so that a test shows what went wrong. */
  expect(status: number): this {
    if (this.status !== status) {
      throw new Error(`expected status ${status}, got ${this.status}: ${JSON.stringify(this.body)}`);
    }
    return this;
  }
}

/** Speaks JSON to the service, as any client would: over HTTP. */
export class TestClient {
  constructor(
    private readonly baseUrl: string,
    private readonly apiKey: string | null,
  ) {}

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<TestAnswer> {
    return this.send('GET', path, { headers });
  }

  post(path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<TestAnswer> {
    return this.send('POST', path, { body, headers });
  }

  delete(path: string): Promise<TestAnswer> {
    return this.send('DELETE', path);
  }

  async send(method: string, path: string, { body, headers }: SendOptions = {}): Promise<TestAnswer> {
    const call = open(this.baseUrl, method, path)
      .agent(CONNECTIONS)
      .redirects(0)
      .buffer(true)
      .parse(readText);
    if (this.apiKey !== null) void call.set('authorization', `Bearer ${this.apiKey}`);
    if (body !== undefined) void call.set('content-type', 'application/json');
    for (const [name, value] of Object.entries(headers ?? {})) void call.set(name, value);
    if (body !== undefined) void call.send(typeof body === 'string' ? body : JSON.stringify(body));
    const response: Response = await call;
    const text = response.body as string;
    const answer = parsed(text);
    rememberSecret(this.apiKey);
    rememberSecretsIn(body);
    if (response.ok) rememberSecretsIn(answer);
    else recordError(method, response.status, text);
    return new TestAnswer(response.status, toHeaders(response.headers), answer);
  }
}

/** Kept between calls: a new connection for each takes four times the CPU. */
const CONNECTIONS = new Agent({ keepAlive: true });

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete' | 'head' | 'options';

function open(baseUrl: string, method: string, path: string): Test {
  const { origin, pathname, search } = new URL(path, baseUrl);
  return request(origin)[method.toLowerCase() as Method](pathname + search);
}

/** The body as it came, whatever its type. */
function readText(response: Response, done: (error: Error | null, text: string) => void): void {
  const stream = response as unknown as NodeJS.ReadableStream;
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => done(null, Buffer.concat(chunks).toString()));
}

function toHeaders(headers: IncomingHttpHeaders): Headers {
  const all = new Headers();
  for (const [name, values] of Object.entries(headers)) {
    for (const value of [values ?? []].flat()) all.append(name, value);
  }
  return all;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
