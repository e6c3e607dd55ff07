import { Logger } from '@nestjs/common';
import type { BlackForestLabsSettings } from '../../../platform/config/settings.js';
import { type MicroUsd, divHalfUp, MAX_AMOUNT_MICROS, micros } from '../../../platform/common/money.js';
import {
  fetchSample,
  pause,
  TrustedHosts,
  UpstreamHttp,
  type UpstreamResponse,
  members,
  readRetryAfter,
  TaskSlots,
  type TaskSlotLimits,
} from './upstream-http.js';
import type {
  GenerateContext,
  KeyCheck,
  KeyedImageProvider,
  ProviderRequest,
  ProviderTask,
  ReferenceImage,
} from './image-provider.js';
import { toFailureKind, ProviderFailure } from './provider-failure.js';

/** More images than this could not be made before their calls' deadline. */
const QUEUE_MAX = 1_000;
/** How long a call may wait for a slot, or for the provider to stop answering 429. */
const SATURATION_WAIT_MAX_MS = 10_000;
/** `input_image` to `input_image_4`. */
const REFERENCES_MAX = 4;
/** An image takes about 3 seconds. */
const RETRY_AFTER_SECONDS = 3;
const RESUBMIT_DELAY_MS = 500;
/** Both are usually answered in well under a second. A poll that hangs is repeated soon; a submit is never repeated. */
const SUBMIT_TIMEOUT_MS = 30_000;
const POLL_TIMEOUT_MS = 5_000;
/** The first poll is sent at once, for upstreams that finish at once. Then the delay doubles up to the maximum. */
const POLL_DELAY_FIRST_MS = 50;
const POLL_DELAY_MAX_MS = 500;
/** A new task may not be known to all servers of the provider yet. */
const NOT_FOUND_TOLERATED_MS = 5_000;
/** A single refusal may be an error of the provider, because it accepted a submit with this key a moment ago. */
const KEY_REFUSED_TOLERATED_MS = 5_000;
const NOT_FOUND: TaskState = { state: 'not_found' };

const CREDITS_PATH = '/v1/credits';

/** The slots of one upstream account. */
export const taskSlotLimits = (activeTasksMax: number): TaskSlotLimits => ({
  slots: activeTasksMax,
  waitersMax: QUEUE_MAX,
  waitMaxMs: SATURATION_WAIT_MAX_MS,
  retryAfterSeconds: RETRY_AFTER_SECONDS,
});

/** The owner of the account is responsible for a refused key and pays the provider for the image. */
export type AccountOwner = 'us' | 'customer';

type Parts = {
  readonly owner: AccountOwner;
  readonly http: UpstreamHttp;
  readonly slots: Pick<TaskSlots, 'run'>;
};

/**
 * Asks Black Forest Labs for images: submits a task, polls the URL that the answer names, and downloads the result. There is one
 * instance for each upstream account. The key is sent to `bfl.ai` hosts (or the configured base) only.
 */
export class BlackForestLabsProvider implements KeyedImageProvider {
  readonly name = 'black_forest_labs';
  private readonly logger = new Logger(BlackForestLabsProvider.name);
  private readonly trusted: TrustedHosts;
  private readonly owner: AccountOwner;
  private readonly http: UpstreamHttp;
  private readonly slots: Pick<TaskSlots, 'run'>;

  /** @param parts the parts that several accounts share. By default the account is ours and shares nothing. */
  constructor(
    private readonly settings: BlackForestLabsSettings,
    { owner = 'us', http = new UpstreamHttp(), slots }: Partial<Parts> = {},
  ) {
    this.trusted = new TrustedHosts(settings.apiBase);
    this.owner = owner;
    this.http = http;
    this.slots = slots ?? new TaskSlots(taskSlotLimits(settings.activeTasksMax));
  }

  /** Sizes are not checked here, because the catalogue's limits are those of this provider. */
  findObstacle({ references }: ProviderRequest): string | null {
    return references.length > REFERENCES_MAX ? `image: at most ${REFERENCES_MAX} reference images` : null;
  }

  async generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer> {
    const { slotRequest, signal, onTask, saturationWaitMaxMs = SATURATION_WAIT_MAX_MS } = context;
    // Only the task needs a slot, not the download of its result.
    const sampleUrl = await this.slots.run(
      slotRequest,
      async () => {
        const task = await this.submit(request, signal, saturationWaitMaxMs);
        onTask(task);
        return this.waitUntilReady(task, signal);
      },
      saturationWaitMaxMs,
    );
    return fetchSample(this.http, this.trusted, sampleUrl, signal);
  }

  async resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer> {
    return fetchSample(this.http, this.trusted, await this.waitUntilReady(task, signal), signal);
  }

  async checkKey(signal: AbortSignal): Promise<KeyCheck> {
    const url = new URL(CREDITS_PATH, this.settings.apiBase);
    const headers = this.keyHeader();
    try {
      const asked = { method: 'GET', url, headers, signal, timeoutMs: POLL_TIMEOUT_MS } as const;
      const { status, body } = await this.http.json(asked);
      if (isKeyRefused(status)) return { outcome: 'rejected' };
      return status === 200 ? { outcome: 'accepted', creditMicros: readCredit(body) } : UNREACHABLE;
    } catch {
      return UNREACHABLE;
    }
  }

  close(): Promise<void> {
    return this.http.close();
  }

  /** Submits again after a 429 while there is time: another process may be using the same account's slots. */
  private async submit(
    request: ProviderRequest,
    signal: AbortSignal,
    waitMaxMs: number,
  ): Promise<ProviderTask> {
    const body = toSubmitBody(request);
    const startedAtMs = performance.now();
    for (;;) {
      const response = await this.post(request.upstreamModel, body, signal);
      if (response.status !== 429) return this.toTask(response);
      const retryAfterSeconds = readRetryAfterSeconds(response.headers['retry-after'], response.body);
      if (performance.now() - startedAtMs + RESUBMIT_DELAY_MS > waitMaxMs) {
        throw new ProviderFailure('saturated', 'the upstream account has too many active tasks', {
          retryAfterSeconds: retryAfterSeconds ?? RETRY_AFTER_SECONDS,
        });
      }
      await pause(RESUBMIT_DELAY_MS, signal, () => unavailable('the deadline passed while it was saturated'));
    }
  }

  private async post(
    upstreamModel: string,
    body: string,
    signal: AbortSignal,
  ): Promise<UpstreamResponse<unknown>> {
    const headers = { ...this.keyHeader(), 'content-type': 'application/json' };
    const url = new URL(`/v1/${upstreamModel}`, this.settings.apiBase);
    try {
      return await this.http.json({
        method: 'POST',
        url,
        headers,
        body,
        signal,
        timeoutMs: SUBMIT_TIMEOUT_MS,
      });
    } catch (error) {
      // The provider may have accepted the task, but without its id it cannot be polled, and the customer is not charged.
      throw unavailable('a submit got no answer', error);
    }
  }

  private toTask({ status, body }: UpstreamResponse<unknown>): ProviderTask {
    if (status >= 200 && status < 300) {
      const task = readTask(body);
      if (task === null) throw new ProviderFailure('failed', 'a submit was answered without naming a task');
      // What the customer's own account is charged is not our cost and must never be booked as such.
      return this.owner === 'us' ? task : { ...task, costMicros: null };
    }
    const text = this.withoutKey(readErrorText(body));
    const kind = toFailureKind(status);
    if (kind === 'rejected') {
      const complaint = this.withoutKey(readComplaint(body) ?? 'the provider refused the request');
      throw new ProviderFailure('rejected', complaint);
    }
    if (this.owner === 'customer' && isKeyRefused(status)) {
      throw new ProviderFailure('key_rejected', `submit answered ${status}: ${text}`);
    }
    if (this.owner === 'customer' && status === 402) {
      throw new ProviderFailure('key_unfunded', `submit answered ${status}: ${text}`);
    }
    if (this.owner === 'us' && kind === 'account') {
      throw new ProviderFailure('account', `submit answered ${status}: ${text}`);
    }
    throw unavailable(`submit answered ${status}: ${text}`);
  }

  /** Returns the URL of the result. Throws `lost` when `signal` aborts first. */
  private async waitUntilReady(task: ProviderTask, signal: AbortSignal): Promise<string> {
    const url = task.pollingUrl === null ? null : this.trusted.parse(task.pollingUrl);
    if (url === null) {
      this.logger.error(
        { event: 'provider.polling_url_refused', upstream: this.name, task: task.taskId },
        'A provider named a polling URL on a host that is not trusted; the image fails',
      );
      throw new ProviderFailure('failed', 'the polling URL is on a foreign host');
    }
    const startedAtMs = performance.now();
    const lost = () =>
      new ProviderFailure('lost', `task ${task.taskId ?? 'unnamed'} was not resolved in time`);
    for (let delayMs = POLL_DELAY_FIRST_MS; ; delayMs = Math.min(delayMs * 2, POLL_DELAY_MAX_MS)) {
      const sampleUrl = await this.poll(url, performance.now() - startedAtMs, signal);
      if (sampleUrl !== null) return sampleUrl;
      await pause(delayMs, signal, lost);
    }
  }

  /** Returns the URL of the result, or null while there is none. A failed poll says nothing about the task, so it is repeated. */
  private async poll(url: URL, waitedMs: number, signal: AbortSignal): Promise<string | null> {
    let response: UpstreamResponse<unknown>;
    try {
      response = await this.http.json({
        method: 'GET',
        url,
        headers: this.keyHeader(),
        signal,
        timeoutMs: POLL_TIMEOUT_MS,
      });
    } catch {
      return null;
    }
    if (this.owner === 'customer' && isKeyRefused(response.status) && waitedMs >= KEY_REFUSED_TOLERATED_MS) {
      // The customer's key was revoked while the task ran. Polling until the deadline would only keep them waiting.
      throw new ProviderFailure('key_rejected', `polls were answered ${response.status}`);
    }
    if (response.status !== 200 && response.status !== 404) return null;
    const found = response.status === 404 ? NOT_FOUND : readTaskState(response.body);
    switch (found.state) {
      case 'ready':
        return found.sampleUrl;
      case 'moderated':
        throw new ProviderFailure('moderated', `moderated: ${found.reasons.slice(0, 200)}`);
      case 'failed':
        throw new ProviderFailure('failed', 'the task ended in an error');
      case 'not_found':
        if (waitedMs < NOT_FOUND_TOLERATED_MS) return null;
        throw new ProviderFailure('failed', 'the provider does not know its own task');
      case 'pending':
        return null;
    }
  }

  /** Removes the key from a complaint of the provider, which may repeat it and is logged and shown. */
  private withoutKey(text: string): string {
    return text.replaceAll(this.settings.apiKey, '[key]');
  }

  private keyHeader(): Record<string, string> {
    return { 'x-key': this.settings.apiKey, accept: 'application/json' };
  }
}

const UNREACHABLE: KeyCheck = { outcome: 'unreachable' };

function isKeyRefused(status: number): boolean {
  return status === 401 || status === 403;
}

function unavailable(message: string, cause?: unknown): ProviderFailure {
  return new ProviderFailure('unavailable', message, { cause });
}

/** This file writes and reads the documents of Black Forest Labs' API that are used here. */

/** OpenAI's `moderation` as the provider's tolerance: 0 is strict, 5 the most tolerant, 2 the default. */
const SAFETY_TOLERANCE = { auto: 2, low: 4 } as const;

/** The provider's own limit for URLs. A task id is a UUID. */
const URL_CHARS_MAX = 2_083;
const TASK_ID_CHARS_MAX = 300;

/** The names in the customer's order, because prompts refer to "the first image". */
const INPUT_IMAGES = ['input_image', 'input_image_2', 'input_image_3', 'input_image_4'] as const;

export function toSubmitBody(request: ProviderRequest): string {
  return JSON.stringify({
    prompt: request.prompt,
    width: request.width,
    height: request.height,
    ...(request.outputFormat === null ? {} : { output_format: request.outputFormat }),
    safety_tolerance: SAFETY_TOLERANCE[request.moderation],
    ...inputImages(request.references),
  });
}

/** Throws for more references than there are names, because omitting one would charge for an image that was not asked for. */
function inputImages(references: readonly ReferenceImage[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    references.map((reference, index) => {
      const name = INPUT_IMAGES[index];
      if (name === undefined) throw new RangeError(`no more than ${INPUT_IMAGES.length} references`);
      return [name, toBase64(reference)];
    }),
  );
}

const encoded = new WeakMap<ReferenceImage, string>();

/** Encodes each reference once for all images of a call, which are separate requests with the same references. */
function toBase64(reference: ReferenceImage): string {
  const known = encoded.get(reference);
  if (known !== undefined) return known;
  const base64 = reference.bytes.toString('base64');
  encoded.set(reference, base64);
  return base64;
}

/** Returns null when the answer names no task. */
export function readTask(body: unknown): ProviderTask | null {
  const { id, polling_url: pollingUrl, cost } = members(body);
  if (!isText(id, TASK_ID_CHARS_MAX) || !isText(pollingUrl, URL_CHARS_MAX)) return null;
  return { taskId: id, pollingUrl, costMicros: creditsToMicros(cost) };
}

/** Returns the credit that is left on the account, in micro-USD; null when the answer does not name it. */
export function readCredit(body: unknown): MicroUsd | null {
  return creditsToMicros(members(body)['credits']);
}

export type TaskState =
  | { readonly state: 'pending' | 'not_found' | 'failed' }
  | { readonly state: 'moderated'; readonly reasons: string }
  | { readonly state: 'ready'; readonly sampleUrl: string };

/** An unknown status, which the provider may add one day, counts as pending; the call's deadline limits the wait. */
export function readTaskState(body: unknown): TaskState {
  const { status, result, details } = members(body);
  switch (status) {
    case 'Ready': {
      const { sample } = members(result);
      return isText(sample, URL_CHARS_MAX) ? { state: 'ready', sampleUrl: sample } : { state: 'failed' };
    }
    case 'Request Moderated':
    case 'Content Moderated':
      return { state: 'moderated', reasons: toText(members(details)['Moderation Reasons']) };
    case 'Error':
    case 'Failed':
      return { state: 'failed' };
    case 'Task not found':
      return { state: 'not_found' };
    default:
      return { state: 'pending' };
  }
}

/** The names of the customer's own parameters in our API. Only complaints about these are shown to the customer. */
const CUSTOMER_FIELDS: Readonly<Record<string, string>> = {
  prompt: 'prompt',
  width: 'size',
  height: 'size',
  output_format: 'output_format',
  safety_tolerance: 'moderation',
  ...Object.fromEntries(INPUT_IMAGES.map((name) => [name, 'image'])),
};
const COMPLAINT_CHARS_MAX = 200;

/** Returns what a 422 says about the customer's parameters, such as `size: too wide`; null when it does not mention them. */
export function readComplaint(body: unknown): string | null {
  const { detail } = members(body);
  for (const item of Array.isArray(detail) ? (detail as unknown[]) : []) {
    const { loc, msg } = members(item);
    const field: unknown = Array.isArray(loc) ? loc.at(-1) : undefined;
    const name =
      typeof field === 'string' && Object.hasOwn(CUSTOMER_FIELDS, field) ? CUSTOMER_FIELDS[field] : undefined;
    if (name !== undefined && typeof msg === 'string') return `${name}: ${msg.slice(0, COMPLAINT_CHARS_MAX)}`;
  }
  return null;
}

/** Returns the text of an error body for our log: `detail`, else `message`, else `error`. */
export function readErrorText(body: unknown): string {
  const { detail, message, error } = members(body);
  return toText(detail ?? message ?? error).slice(0, COMPLAINT_CHARS_MAX);
}

/** Returns whole seconds from 1 to 60; null when neither the header nor the body names them. */
export function readRetryAfterSeconds(header: unknown, body: unknown): number | null {
  return readRetryAfter(header ?? members(body)['retry_after']);
}

function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= charsMax && !value.includes('\0');
}

function toText(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}

/** Black Forest Labs counts in credits: 1 credit = 1 US cent = 10,000 micro-USD. */
const DECIMALS = 10_000n;
const CREDITS_PATTERN = /^(\d{1,12})(?:\.(\d{1,18}))?$/;

/**
 * Converts credits to micro-USD: `1.5` credits are 15,000. The JSON number is converted back to its decimal text (exact for up to
 * 15 significant digits), so no float is ever multiplied. Fractions of a micro-dollar are rounded half up; this is our own cost, so
 * no customer gains or loses. Returns null for a value that is no such number.
 */
export function creditsToMicros(credits: unknown): MicroUsd | null {
  if (typeof credits !== 'number') return null;
  const match = CREDITS_PATTERN.exec(String(credits));
  if (match === null) return null;
  const [, whole = '0', fraction = ''] = match;
  const scale = 10n ** BigInt(fraction.length);
  const amount = divHalfUp(BigInt(whole + fraction) * DECIMALS, scale);
  return amount <= MAX_AMOUNT_MICROS ? micros(amount) : null;
}
