import { Problem } from '../../platform/errors/problem.js';

/** 403: a key could otherwise lift its own limit. */
export class LimitedKeyError extends Problem {
  readonly code = 'key_is_limited';
  constructor() {
    super(
      'This API key, or a key that it descends from, has spend limits, so it makes no key that can spend or make keys, ' +
        'and changes none. Use a key without limits.',
      { shouldRetry: false },
    );
  }
}

/** More names would not help the reader of the message; the list of keys shows all of them. */
const NAMED_MAX = 5;

/** 409: a limit on a key would limit nothing while its descendants can still spend. */
export class KeyHasDescendantsError extends Problem {
  readonly code = 'key_has_descendants';
  constructor(keyIds: readonly string[]) {
    const named = keyIds.slice(0, NAMED_MAX).join(', ');
    const more = keyIds.length > NAMED_MAX ? ` and ${keyIds.length - NAMED_MAX} more` : '';
    super(
      `Keys that this key has made can spend or make keys: ${named}${more}. A spend limit would not hold for them, so ` +
        'none was set. Revoke them first, or make a key with spend limits and use that one.',
      { shouldRetry: false, details: { descendants: keyIds.length } },
    );
  }
}
