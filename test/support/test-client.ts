/* eslint-disable @typescript-eslint/no-explicit-any -- answers are inspected as plain JSON */
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
    const response = await fetch(new URL(path, this.baseUrl), {
      method,
      redirect: 'manual',
      headers: {
        ...(this.apiKey === null ? {} : { authorization: `Bearer ${this.apiKey}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = parsed(text);
    rememberSecret(this.apiKey);
    rememberSecretsIn(body);
    if (response.ok) rememberSecretsIn(answer);
    else recordError(method, response.status, text);
    return new TestAnswer(response.status, response.headers, answer);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
