import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { AccountPrincipal } from '../../../identity/auth/principal.js';
import type { LimitReport } from '../../../identity/rate-limits/rate-limit.guard.js';

/** The caller of an image route, as authentication found it, with the headers that the call depends on. */
export type Caller = {
  readonly principal: AccountPrincipal;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** `x-coffer-tag`. */
  readonly tag: string | null;
  /** Null for a client that does not announce its retries. */
  readonly client: RetryingClient | null;
  /** Receives what the rate limits count, for the headers of the answer, and knows when the answer has ended. */
  readonly limits: LimitReport;
};

/** OpenAI's SDKs send this header with every request: 0 at first, then 1, 2 and so on when they send a call again by themselves. */
export const RETRY_COUNT_HEADER = 'x-stainless-retry-count';
const COUNT_PATTERN = /^\d{1,4}$/;

/**
 * When a connection ends this soon after an answer, the client may not have received it: the client gave up while the answer was
 * being sent, or a proxy lost one of the two connections. SDKs keep theirs open for seconds.
 */
const DOUBT_MS = 2_000;

/** A client that sends a call again by itself when it gets no answer, and announces it. */
export type RetryingClient = {
  /** 0 for the first attempt. */
  readonly retryCount: number;
  /** Resolves to true when the whole answer was sent, and to false when the connection ended before. Never rejects. */
  readonly answered: Promise<boolean>;
  /** Whether the connection has ended already, without the answer. */
  readonly isGone: () => boolean;
  /** Registers a listener for the case that the connection ends shortly after the answer. It is called at most once. */
  readonly onDoubt: (listener: () => void) => void;
};

/** The part of Node's response that shows whether the answer was sent. */
export type Answering = {
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  readonly shouldKeepAlive: boolean;
  readonly socket: Connection | null;
  once(event: 'close', listener: () => void): unknown;
};

type Connection = object & { once(event: 'close', listener: () => void): unknown };

/** The last answer of a connection. Another request on the same connection proves that the client received the answer. */
type LastAnswer = { answeredAtMs: number; listener: (() => void) | null };

const lastAnswers = new WeakMap<Connection, LastAnswer>();

function lastAnswerOn(connection: Connection): LastAnswer {
  const known = lastAnswers.get(connection);
  if (known !== undefined) return known;
  const last: LastAnswer = { answeredAtMs: Number.NEGATIVE_INFINITY, listener: null };
  lastAnswers.set(connection, last);
  connection.once('close', () => {
    if (performance.now() - last.answeredAtMs <= DOUBT_MS) last.listener?.();
  });
  return last;
}

/** Returns null when the client announces no retries. A header that is not a number is ignored: other clients may use it differently. */
export function toRetryingClient(
  header: string | readonly string[] | undefined,
  answer: Answering,
): RetryingClient | null {
  if (typeof header !== 'string' || !COUNT_PATTERN.test(header)) return null;
  const last: LastAnswer =
    answer.socket === null ? { answeredAtMs: 0, listener: null } : lastAnswerOn(answer.socket);
  last.listener = null;
  let ended = answer.destroyed;
  const answered = new Promise<boolean>((resolve) => {
    const end = (): void => {
      ended = true;
      // If this server closes the connection after the answer, its end says nothing about the client.
      last.answeredAtMs = answer.shouldKeepAlive ? performance.now() : Number.NEGATIVE_INFINITY;
      resolve(answer.writableFinished);
    };
    if (ended) end();
    else answer.once('close', end);
  });
  return {
    retryCount: Number(header),
    answered,
    isGone: () => ended && !answer.writableFinished,
    onDoubt: (listener) => (last.listener = listener),
  };
}

/** Whether the client may repeat this call without announcing it, by a number or a key. The API key's owner has said so. */
export function isSilentlyRepeated(caller: {
  readonly client: RetryingClient | null;
  readonly idempotencyKey: string | null;
  readonly principal: Pick<AccountPrincipal, 'duplicateWindowSeconds'>;
}): boolean {
  const { client, idempotencyKey, principal } = caller;
  return client === null && idempotencyKey === null && principal.duplicateWindowSeconds > 0;
}

/** Whether this call may have been sent before without an idempotency key, according to its client or its API key. */
export function isPerhapsRepeated(caller: Parameters<typeof isSilentlyRepeated>[0]): boolean {
  return isSilentlyRepeated(caller) || (caller.client?.retryCount ?? 0) > 0;
}

/** `@CallingClient() client: RetryingClient | null` on a controller method. */
export const CallingClient = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const http = context.switchToHttp();
  const request = http.getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  const { raw } = http.getResponse<{ raw: Answering }>();
  return toRetryingClient(request.headers[RETRY_COUNT_HEADER], raw);
});
