import { Problem } from '../../platform/errors/problem.js';
import { getScopeKind, type Scope } from './principal.js';

/*
 * The texts are constants: a refusal never repeats what was sent, and never distinguishes a key that does not exist
 * from one that is only misspelled.
 */

export class MissingApiKeyError extends Problem {
  readonly code = 'missing_api_key';
  constructor() {
    super("No API key was sent. Send the header 'Authorization: Bearer <API key>'.");
  }
}

export class InvalidApiKeyError extends Problem {
  readonly code = 'invalid_api_key';
  constructor() {
    super('This is not a valid API key. Check that it was copied whole.');
  }
}

export class RevokedApiKeyError extends Problem {
  readonly code = 'revoked_api_key';
  constructor() {
    super('This API key was revoked. Use another one.');
  }
}

export class ExpiredApiKeyError extends Problem {
  readonly code = 'expired_api_key';
  constructor() {
    super('This API key has expired. Make a new one.');
  }
}

const KIND_NAMES = { account_key: 'an account key', operator_key: 'an operator key' } as const;

/** The key is valid, but is of the other kind or lacks the scope. */
export class InsufficientScopeError extends Problem {
  readonly code = 'insufficient_scope';
  /** @param rule why this scope is needed, when the route alone does not explain it. */
  constructor(scope: Scope, rule = '') {
    super(`This needs ${KIND_NAMES[getScopeKind(scope)]} with the scope '${scope}'. ${rule}`.trimEnd(), {
      details: { required_scope: scope },
    });
  }
}
