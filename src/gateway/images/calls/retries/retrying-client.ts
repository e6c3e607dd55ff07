import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { AccountPrincipal } from '../../../../identity/auth/principal.js';

/** Sent by the SDKs that OpenAI publishes, with every request: 0, and 1, 2 ... when they send a call again by themselves. */
export const RETRY_COUNT_HEADER = 'x-stainless-retry-count';
const COUNT_PATTERN = /^\d{1,4}$/;

/**
 * A connection that ends that soon behind an answer may not have carried it to the client: the client gave up while the
 * answer was under way, or a proxy between the two lost one of them. SDKs keep theirs open for seconds.
 */
const DOUBT_MS = 2_000;

/** A client that sends a call again by itself when it gets no answer, and says so. */
export type RetryingClient = {
  /** 0: this is the first attempt. */
  readonly retryCount: number;
  /** True once the whole answer was handed to its connection; false once the connection ended before. Never rejects. */
  readonly answered: Promise<boolean>;
  /** Whether the connection has ended already, without the answer. */
  readonly isGone: () => boolean;
  /** Hears when the connection ends right behind the answer. At most once, and most often never. */
  readonly onDoubt: (listener: () => void) => void;
};

/** The part of Node's response that tells. */
export type Answering = {
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  readonly shouldKeepAlive: boolean;
  readonly socket: Connection | null;
  once(event: 'close', listener: () => void): unknown;
};

type Connection = object & { once(event: 'close', listener: () => void): unknown };

/** The last answer of a connection. The next request on it is proof that the answer came in. */
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

/** Null: the client announces no retries. The header is not ours: what is no number counts as absent. */
export function retryingClientOf(
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
      // A connection that this side closes behind the answer says nothing.
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

/** A call whose client may send it again and says nothing of it, neither by a number nor by a key; its API key says so. */
export function isSilentlyRepeated(caller: {
  readonly client: RetryingClient | null;
  readonly idempotencyKey: string | null;
  readonly principal: Pick<AccountPrincipal, 'duplicateWindowSeconds'>;
}): boolean {
  const { client, idempotencyKey, principal } = caller;
  return client === null && idempotencyKey === null && principal.duplicateWindowSeconds > 0;
}

/** A call that may have been sent before under no idempotency key: its client says so, or its API key does. */
export function isPerhapsRepeated(caller: Parameters<typeof isSilentlyRepeated>[0]): boolean {
  return isSilentlyRepeated(caller) || (caller.client?.retryCount ?? 0) > 0;
}

/** `@CallingClient() client: RetryingClient | null` on a controller method. */
export const CallingClient = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const http = context.switchToHttp();
  const request = http.getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  const { raw } = http.getResponse<{ raw: Answering }>();
  return retryingClientOf(request.headers[RETRY_COUNT_HEADER], raw);
});
