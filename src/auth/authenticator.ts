import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type Clock } from '../common/clock.js';
import type { Problem } from '../problems/problem.js';
import { hashApiKey, parseApiKey } from './api-key-format.js';
import { ExpiredApiKeyError, InvalidApiKeyError, RevokedApiKeyError } from './auth.errors.js';
import { CredentialCache } from './credential-cache.js';
import type { Credential } from './credentials.js';
import { EnvironmentOperatorKey } from './environment-operator-key.js';
import { FAILED_AUTHENTICATIONS, type FailedAuthentications } from './failed-authentications.js';
import type { Principal } from './principal.js';

/** No key is longer; a header of megabytes is not worth hashing. */
const TOKEN_LENGTH_MAX = 200;

/** Where a request came from. The address is read only when something is wrong: reading it costs a system call. */
type Sender = { readonly ip: string };

/** Turns the text of an API key into a principal. */
@Injectable()
export class Authenticator {
  constructor(
    private readonly cache: CredentialCache,
    private readonly environmentKey: EnvironmentOperatorKey,
    @Inject(FAILED_AUTHENTICATIONS) private readonly failures: FailedAuthentications,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Synchronous for a key in use, whose credential is cached: a promise would cost every call a turn of the
   * queue. Otherwise rejects with one of `auth.errors.ts`, `DatabaseUnavailableError`, or the 429 of an
   * address that fails too often.
   */
  authenticate(token: string, sender: Sender): Principal | Promise<Principal> {
    if (token.length > TOKEN_LENGTH_MAX) return this.examine(token, null, sender.ip);
    const hash = hashApiKey(token);
    const known = this.cache.peek(hash);
    if (known && this.faultOf(known) === null) return known.principal;
    return this.environmentKey.match(hash) ?? this.examine(token, hash, sender.ip, known);
  }

  private async examine(
    token: string,
    hash: string | null,
    address: string,
    known?: Credential | null,
  ): Promise<Principal> {
    // A key that works is not held up by whoever fails from the same address (an office, a cloud's exit).
    const seenGood = hash !== null && this.cache.hasSeenGood(hash);
    if (!seenGood) await this.failures.assertBelowLimit(address);
    const credential = known !== undefined ? known : await this.find(token, hash);
    const fault = credential === null ? new InvalidApiKeyError() : this.faultOf(credential);
    if (credential !== null && fault === null) return credential.principal;
    await this.failures.record(address);
    throw fault ?? new InvalidApiKeyError();
  }

  /** Nobody asks the database about a text that cannot be a key. */
  private async find(token: string, hash: string | null): Promise<Credential | null> {
    return hash === null || parseApiKey(token) === null ? null : this.cache.find(hash);
  }

  private faultOf({ revoked, expiresAtMs }: Credential): Problem | null {
    if (revoked) return new RevokedApiKeyError();
    if (expiresAtMs !== null && expiresAtMs <= this.clock.nowMs()) return new ExpiredApiKeyError();
    return null;
  }
}
