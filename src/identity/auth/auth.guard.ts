import { timingSafeEqual } from 'node:crypto';
import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';
import { getRouteAccess, type RouteAccess, RouteAccessTable } from '../../platform/http/routes.js';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Problem } from '../../platform/errors/problem.js';
import { InvalidSettingsError } from '../../platform/config/environment-reader.js';
import type { Settings } from '../../platform/config/settings.js';
import {
  ExpiredApiKeyError,
  InsufficientScopeError,
  InvalidApiKeyError,
  MissingApiKeyError,
  RevokedApiKeyError,
} from './auth.errors.js';
import {
  hasScope,
  OPERATOR_SCOPES,
  type OperatorPrincipal,
  type Principal,
  type Scope,
} from './principal.js';
import { type Credential, CredentialCache, hashApiKey, parseApiKey } from './credentials.js';

export const FAILED_AUTHENTICATIONS = Symbol('FAILED_AUTHENTICATIONS');

/** Port that counts refused keys by network address. `rate-limits/` implements it, which is above this module. */
export interface FailedAuthentications {
  /** Returns the 429 for another bad key of an address that has failed too often lately; null for any other address. */
  refusalFor(address: string): Promise<Problem | null>;
  record(address: string): Promise<void>;
}

/** Outside production any text of this length is accepted, so that scripts and tests may use a readable one. */
const LENGTH_MIN = 16;
/** Short enough for any header; see `TOKEN_LENGTH_MAX`. */
const LENGTH_MAX = 200;
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;

const PRINCIPAL: OperatorPrincipal = {
  kind: 'operator_key',
  keyId: 'key_env',
  scopes: new Set(OPERATOR_SCOPES),
};

/**
 * The operator key of `COFFER_OPERATOR_KEY`: it has all operator scopes, is not in the database, and is revoked by a restart
 * with another value. The first operator creates the other keys with it.
 */
export class EnvironmentOperatorKey {
  private readonly hash: Buffer | null;

  /** Throws `InvalidSettingsError` for a value that is too weak to be trusted. */
  constructor({ operatorKey, environment }: Pick<Settings, 'operatorKey' | 'environment'>) {
    if (operatorKey !== null && environment === 'production' && parseApiKey(operatorKey) !== 'operator_key') {
      throw new InvalidSettingsError([
        'COFFER_OPERATOR_KEY must be a whole operator key (op-cof-…) in production; `coffer operator-key` makes one',
      ]);
    }
    if (operatorKey !== null && !isLongEnough(operatorKey)) {
      throw new InvalidSettingsError([
        `COFFER_OPERATOR_KEY must have ${LENGTH_MIN} to ${LENGTH_MAX} visible ASCII characters`,
      ]);
    }
    this.hash = operatorKey === null ? null : Buffer.from(hashApiKey(operatorKey), 'hex');
  }

  /**
   * Returns the principal, if this is the hash of that key. It is compared in constant time, because unlike the keys in the
   * database, this one may be text that a person chose.
   */
  match(hash: string): OperatorPrincipal | null {
    return this.hash !== null && timingSafeEqual(this.hash, Buffer.from(hash, 'hex')) ? PRINCIPAL : null;
  }
}

function isLongEnough(value: string): boolean {
  return value.length >= LENGTH_MIN && value.length <= LENGTH_MAX && VISIBLE_ASCII.test(value);
}

/** Which API keys were accepted since the last `take`, and when first. It is in memory, so a request costs one look-up in a map. */
export class KeyUses {
  private firstUses = new Map<string, number>();

  constructor(private readonly clock: Clock) {}

  note(keyId: string): void {
    if (!this.firstUses.has(keyId)) this.firstUses.set(keyId, this.clock.nowMs());
  }

  /** Returns the uses by the key's id, in Unix milliseconds, and starts with an empty record. */
  take(): ReadonlyMap<string, number> {
    const taken = this.firstUses;
    this.firstUses = new Map();
    return taken;
  }
}

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

/**
 * A revoked key is refused within a second. A body may take longer than that to arrive, so a decision that was made before
 * the body is repeated after it when it is older than this.
 */
export const DECISION_GOOD_FOR_MS = 100;

/**
 * Runs before every route, and decides at most twice: when the headers of a request are read, so that no body is read without
 * a valid key (`authenticateBeforeBodies`), and before its handler. It answers synchronously for a key in use, and refuses a
 * route that declares no access.
 */
@Injectable()
export class AuthGuard implements CanActivate {
  private readonly routes = new RouteAccessTable<Scope>();

  constructor(private readonly authenticator: Authenticator) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const access = this.routes.get(context.getClass(), context.getHandler());
    if (access.public) return true;
    const request = context.getArgByIndex<FastifyRequest>(0);
    const { principal } = request;
    if (principal === undefined) return this.decide(request, access.scope);
    const isFresh = context.getArgByIndex<FastifyReply>(1).elapsedTime < DECISION_GOOD_FOR_MS;
    return isFresh ? admit(request, principal, access.scope) : this.decide(request, access.scope);
  }

  /** Throws, or rejects with, one of `auth.errors.ts`, and the errors of the authenticator. */
  decide(request: FastifyRequest, scope: Scope): true | Promise<true> {
    const token = bearerToken(request.headers.authorization);
    const principal = this.authenticator.authenticate(token, request);
    return principal instanceof Promise
      ? principal.then((settled) => admit(request, settled, scope))
      : admit(request, principal, scope);
  }
}

const BEARER = 'Bearer ';
const BEARER_ANY_CASE = /^bearer +(\S.*)$/i;

/** Throws `MissingApiKeyError` for any other scheme, because the client then sends no API key. */
function bearerToken(header: string | undefined): string {
  if (header === undefined) throw new MissingApiKeyError();
  if (header.startsWith(BEARER)) return header.slice(BEARER.length).trim();
  const token = BEARER_ANY_CASE.exec(header)?.[1];
  if (token === undefined) throw new MissingApiKeyError();
  return token;
}

function admit(request: FastifyRequest, principal: Principal, scope: Scope): true {
  // It is set before the scope is checked, so that the log line of a refusal names the key as well.
  request.principal = principal;
  if (!hasScope(principal, scope)) throw new InsufficientScopeError(scope);
  return true;
}

/**
 * Runs the guard as soon as the headers of a request are read. Nest runs guards after Fastify has read and parsed the body:
 * clients without a key could otherwise make the service hold a megabyte for each connection, and spend the time to parse it.
 *
 * Call it before the routes are registered. The controller declares what a route requires; for a route that this hook
 * does not know, the guard decides alone, as it does in any case before the handler.
 */
export function authenticateBeforeBodies(fastify: FastifyInstance, guard: AuthGuard): void {
  fastify.addHook('onRoute', (route) => {
    const access = getRouteAccess<Scope>(route.config);
    if (access === undefined || access.public) return;
    route.onRequest = [...[route.onRequest ?? []].flat(), decideWith(guard, access)];
  });
}

function decideWith(
  guard: AuthGuard,
  { scope }: RouteAccess<Scope> & { readonly public: false },
): onRequestHookHandler {
  return (request, _reply, done) => {
    try {
      const decision = guard.decide(request, scope);
      if (decision instanceof Promise) decision.then(() => done(), done);
      else done();
    } catch (error) {
      done(error as Error);
    }
  };
}
