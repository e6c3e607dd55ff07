import { PROBLEM_CATALOG, type ProblemCode } from './problem-catalog.js';
import { PROBLEM_KINDS, type ProblemKind } from './problem-kinds.js';

type Details = Readonly<Record<string, string | number | boolean | null>>;

export type ProblemOptions = {
  /** The wrong field, with the client's spelling. */
  readonly param?: string | null | undefined;
  /** Further members of the error body, in wire form (snake_case, money as strings). */
  readonly details?: Details | undefined;
  /** Whole seconds, at most 60: for longer waits, some SDK versions sleep the whole time and others ignore it. */
  readonly retryAfterSeconds?: number | undefined;
  /** Sent as `x-should-retry`; overrides what OpenAI's SDKs decide from the status alone. */
  readonly shouldRetry?: boolean | undefined;
  readonly cause?: unknown;
};

/**
 * A domain error. Its code is in the catalogue, which gives its kind; one total map turns kinds into
 * statuses. The message says what happened, what was charged and what to do next.
 */
export abstract class Problem extends Error {
  abstract readonly code: ProblemCode;
  readonly param: string | null;
  readonly details: Details;
  readonly retryAfterSeconds: number | undefined;
  readonly shouldRetry: boolean | undefined;

  constructor(message: string, options: ProblemOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.param = options.param ?? null;
    this.details = options.details ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.shouldRetry = options.shouldRetry;
  }

  get kind(): ProblemKind {
    return PROBLEM_CATALOG[this.code].kind;
  }

  get status(): number {
    return PROBLEM_KINDS[this.kind].status;
  }
}

export type ErrorBody = {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
    readonly [further: string]: string | number | boolean | null;
  };
};

/** Returns OpenAI's error shape, with Coffer's further members added to its four. */
export function toErrorBody(problem: Problem): ErrorBody {
  return {
    error: {
      message: problem.message,
      type: PROBLEM_KINDS[problem.kind].type,
      param: problem.param,
      code: problem.code,
      ...problem.details,
    },
  };
}
