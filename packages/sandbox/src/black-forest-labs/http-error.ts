/** One entry of FastAPI's 422 answer. */
export type ValidationProblem = {
  readonly type: string;
  readonly loc: readonly (number | string)[];
  readonly msg: string;
};

/** Answered as `{"detail": …}`: a text, or the list of what is wrong with the parameters. */
export class UpstreamHttpError extends Error {
  constructor(
    readonly status: number,
    readonly detail: string | readonly ValidationProblem[],
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(typeof detail === 'string' ? detail : `${detail.length} invalid parameters`);
    this.name = 'UpstreamHttpError';
  }
}

export function problem(type: string, loc: readonly (number | string)[], msg: string): ValidationProblem {
  return { type, loc, msg };
}
