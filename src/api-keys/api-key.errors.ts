import { Problem } from '../problems/problem.js';

/** 403: a limit that its own key could lift would be none. */
export class LimitedKeyError extends Problem {
  readonly code = 'key_is_limited';
  constructor() {
    super(
      'This API key has spend limits itself, so it makes no key that can spend and changes no spend limit. ' +
        'Use a key without limits.',
      { shouldRetry: false },
    );
  }
}
