import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Problem } from '../../platform/errors/problem.js';
import { hashApiKey, parseApiKey } from './api-key-format.js';
import { ExpiredApiKeyError, InvalidApiKeyError, RevokedApiKeyError } from './auth.errors.js';
import { CredentialCache } from './credential-cache.js';
import type { Credential } from './credentials.js';
import { EnvironmentOperatorKey } from './environment-operator-key.js';
import { FAILED_AUTHENTICATIONS, type FailedAuthentications } from './failed-authentications.js';
import { KeyUses } from './key-uses.js';
import type { Principal } from './principal.js';

/** No key is longer, and hashing a header of megabytes would be wasted work. */
const TOKEN_LENGTH_MAX = 200;

/** The sender of a request. The address is read only when something is wrong, because reading it costs a system call. */
type Sender = { readonly ip: string };

/** Turns the text of an API key into a principal. */
@Injectable()
export class Authenticator {
  constructor(
    private readonly cache: CredentialCache,
    private readonly environmentKey: EnvironmentOperatorKey,
    private readonly uses: KeyUses,
    @Inject(FAILED_AUTHENTICATIONS) private readonly failures: FailedAuthentications,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * It is synchronous for a key in use, whose credential is cached: a promise would cost every call an iteration of the
   * microtask queue. Otherwise it rejects with one of `auth.errors.ts`, `DatabaseUnavailableError`, or the 429 for a bad key
   * from an address that fails too often.
   */
  authenticate(token: string, sender: Sender): Principal | Promise<Principal> {
    if (token.length > TOKEN_LENGTH_MAX) return this.refuse(new InvalidApiKeyError(), sender.ip);
    const hash = hashApiKey(token);
    const known = this.cache.peek(hash);
    if (known && this.findFault(known) === null) return this.accept(known);
    return this.environmentKey.match(hash) ?? this.examine(token, hash, sender.ip, known);
  }

  /**
   * Malformed keys and keys that are known to be bad are refused without the database. Every other key is looked up, even if its
   * address has failed often: an address may be an office, a cloud's exit or a load balancer, and bad keys from its neighbours
   * must not lock a good key out. An attacker gains nothing by this: 256 random bits cannot be guessed, and a guess gets the
   * same answer as before.
   */
  private async examine(
    token: string,
    hash: string,
    address: string,
    known: Credential | null | undefined,
  ): Promise<Principal> {
    if (parseApiKey(token) === null) return this.refuse(new InvalidApiKeyError(), address);
    const credential = known !== undefined ? known : await this.find(hash, address);
    const fault = credential === null ? new InvalidApiKeyError() : this.findFault(credential);
    return credential !== null && fault === null
      ? this.accept(credential)
      : this.refuse(fault ?? new InvalidApiKeyError(), address);
  }

  private accept({ principal }: Credential): Principal {
    this.uses.note(principal.keyId);
    return principal;
  }

  private async find(hash: string, address: string): Promise<Credential | null> {
    const suspect = !this.cache.hasSeenGood(hash) && (await this.failures.refusalFor(address)) !== null;
    return this.cache.find(hash, suspect ? 'suspect' : 'ordinary');
  }

  private async refuse(fault: Problem, address: string): Promise<never> {
    const refusal = await this.failures.refusalFor(address);
    if (refusal !== null) throw refusal;
    await this.failures.record(address);
    throw fault;
  }

  private findFault({ revoked, expiresAtMs }: Credential): Problem | null {
    if (revoked) return new RevokedApiKeyError();
    if (expiresAtMs !== null && expiresAtMs <= this.clock.nowMs()) return new ExpiredApiKeyError();
    return null;
  }
}
