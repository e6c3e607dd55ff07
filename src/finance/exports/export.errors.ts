import { Problem } from '../../platform/errors/problem.js';

/** 429: each running export holds a database connection and a snapshot, and more of them would delay charges. */
export class TooManyExportsError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor(exportsMax: number) {
    super(`${exportsMax} exports are running already. Try again when one of them has ended.`, {
      retryAfterSeconds: 30,
    });
  }
}
