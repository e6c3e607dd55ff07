import { Logger } from '@nestjs/common';
import type { BlackForestLabsSettings } from '../../../platform/config/settings.js';
import {
  readComplaint,
  readCredit,
  readErrorText,
  readRetryAfterSeconds,
  readTask,
  readTaskState,
  toSubmitBody,
  type TaskState,
} from './black-forest-labs.wire.js';
import { fetchSample } from './fetch-sample.js';
import type {
  GenerateContext,
  KeyCheck,
  KeyedImageProvider,
  ProviderRequest,
  ProviderTask,
} from './image-provider.js';
import { pause } from './pause.js';
import { kindOfStatus, ProviderFailure } from './provider-failure.js';
import { TaskSlots, type TaskSlotLimits } from './task-slots.js';
import { TrustedHosts } from './trusted-hosts.js';
import { UpstreamHttp, type UpstreamResponse } from './upstream-http.js';

/** About half a minute of work at 3 s an image; a longer queue would only grow old. */
const QUEUE_MAX = 1_000;
/** How long a call may wait for a slot, or for the end of the provider's 429s. */
const SATURATION_WAIT_MAX_MS = 10_000;
/** `input_image` to `input_image_4`. */
const REFERENCES_MAX = 4;
/** An image takes some 3 seconds. */
const RETRY_AFTER_SECONDS = 3;
const RESUBMIT_DELAY_MS = 500;
/** Both are answered in well under a second; these only end what hangs. A poll is soon repeated, a submit never. */
const SUBMIT_TIMEOUT_MS = 30_000;
const POLL_TIMEOUT_MS = 5_000;
/** The first poll comes at once, for upstreams that answer at once; then it backs off to this. */
const POLL_DELAY_FIRST_MS = 50;
const POLL_DELAY_MAX_MS = 500;
/** A task that was just named may not be known everywhere yet. */
const NOT_FOUND_TOLERATED_MS = 5_000;
/** One refusal may be the provider's own hiccup; a submit was accepted with this key a moment ago. */
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

/** Whose account it is decides whose trouble a refused key is, and whose cost an image. */
export type AccountOwner = 'us' | 'customer';

type Parts = {
  readonly owner: AccountOwner;
  readonly http: UpstreamHttp;
  readonly slots: Pick<TaskSlots, 'run'>;
};

/**
 * Black Forest Labs: submit, poll the URL that the answer names, download. One per upstream account. The
 * key goes to `bfl.ai` hosts (or the configured base) only.
 */
export class BlackForestLabsProvider implements KeyedImageProvider {
  readonly name = 'black_forest_labs';
  private readonly logger = new Logger(BlackForestLabsProvider.name);
  private readonly trusted: TrustedHosts;
  private readonly owner: AccountOwner;
  private readonly http: UpstreamHttp;
  private readonly slots: Pick<TaskSlots, 'run'>;

  /** @param parts what several accounts share; by default the account is ours and shares nothing. */
  constructor(
    private readonly settings: BlackForestLabsSettings,
    { owner = 'us', http = new UpstreamHttp(), slots }: Partial<Parts> = {},
  ) {
    this.trusted = new TrustedHosts(settings.apiBase);
    this.owner = owner;
    this.http = http;
    this.slots = slots ?? new TaskSlots(taskSlotLimits(settings.activeTasksMax));
  }

  /** Sizes are the catalogue's to bound: its rule is this provider's. */
  findObstacle({ references }: ProviderRequest): string | null {
    return references.length > REFERENCES_MAX ? `image: at most ${REFERENCES_MAX} reference images` : null;
  }

  async generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer> {
    const { slotRequest, signal, onTask, saturationWaitMaxMs = SATURATION_WAIT_MAX_MS } = context;
    // The slot is for the task; the download of its result needs none.
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

  /** Waits out short 429s: another process may be using the same account's slots. */
  private async submit(
    request: ProviderRequest,
    signal: AbortSignal,
    waitMaxMs: number,
  ): Promise<ProviderTask> {
    const body = toSubmitBody(request);
    const startedAtMs = performance.now();
    for (;;) {
      const response = await this.post(request.upstreamModel, body, signal);
      if (response.status !== 429) return this.taskOf(response);
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
      // It may have been taken all the same; without its name nobody can ask for it, and nobody is charged.
      throw unavailable('a submit got no answer', error);
    }
  }

  private taskOf({ status, body }: UpstreamResponse<unknown>): ProviderTask {
    if (status >= 200 && status < 300) {
      const task = readTask(body);
      if (task === null) throw new ProviderFailure('failed', 'a submit was answered without naming a task');
      // What the customer's own account is charged is no cost of ours, and must never be booked as one.
      return this.owner === 'us' ? task : { ...task, costMicros: null };
    }
    const text = this.withoutKey(readErrorText(body));
    const kind = kindOfStatus(status);
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

  /** Answers the URL of the result. Throws `lost` when `signal` aborts first. */
  private async waitUntilReady(task: ProviderTask, signal: AbortSignal): Promise<string> {
    const url = task.pollingUrl === null ? null : this.trusted.parse(task.pollingUrl);
    if (url === null) {
      this.logger.error({ upstream: this.name, task: task.taskId }, 'A polling URL is on a foreign host');
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

  /** The URL of the result, or null while there is none. Trouble with one poll says nothing of the task. */
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
      // Their key was withdrawn while the task worked; asking until the deadline would only keep them waiting.
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

  /** An upstream may repeat the key in its complaint, and what it says is logged and shown. */
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
