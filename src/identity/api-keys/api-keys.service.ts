import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type FindOptionsWhere, IsNull, MoreThan, Repository } from 'typeorm';
import { AccountsService } from '../accounts/accounts.service.js';
import { AuditLog } from '../audit-log/audit-log.service.js';
import { apiKeyHint, CredentialCache, hashApiKey, makeApiKey } from '../auth/credentials.js';
import { type OperatorScope, type Principal, toActor } from '../auth/principal.js';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { isId, newId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { InvalidRequestError, ResourceMissingError } from '../../platform/errors/common.errors.js';
import { KEY_BUDGETS, type KeyBudget, type KeyBudgets, type SpendLimits } from './key-budget.js';
import {
  type ApiKey,
  getKeyStatus,
  type IssuedApiKey,
  type KeyChanges,
  type NewAccountKey,
  type NewApiKey,
} from './api-key.js';
import { ApiKeyEntity } from './api-key.entity.js';
import { KeyLineageRepository } from './key-lineage.repository.js';
import { assertMayCreate, assertMayLimit, assertMayUpdate, revokesDescendants } from './key-policy.js';

/** Null means the platform itself; its keys are the operator keys. */
export type KeyOwner = string | null;

/** The caller who asks for a new key; null is the service itself, on its first run. */
export type KeyMaker = Principal | null;

/**
 * The limit for active keys and keys made in the last day, of one account or of the platform: far more than a customer
 * rotates, and the most that a faulty script can add in a day.
 */
const KEYS_MAX = 1_000;

@Injectable()
export class ApiKeysService {
  constructor(
    @InjectRepository(ApiKeyEntity) private readonly keys: Repository<ApiKeyEntity>,
    private readonly accounts: AccountsService,
    private readonly transactions: TransactionRunner,
    private readonly cache: CredentialCache,
    @Inject(KEY_BUDGETS) private readonly budgets: KeyBudgets,
    private readonly lineage: KeyLineageRepository,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Creates a key of the account. Throws `ResourceMissingError` (no such account), `InvalidRequestError` (too many keys),
   * and the errors of `assertMayCreate`.
   */
  async createAccountKey(accountId: string, request: NewAccountKey, maker: KeyMaker): Promise<IssuedApiKey> {
    await this.accounts.require(accountId);
    const key = await this.issue(accountId, request, maker);
    const limits = request.spendLimits ?? {};
    if (Object.values(limits).every((limit) => limit === null)) return key;
    // The secret is not known to any caller before it is returned, so the key cannot be used before it is limited.
    return { ...key, budget: await this.budgets.set(accountId, key.id, limits, maker ?? 'system') };
  }

  /**
   * Changes a key of the account; undefined changes nothing. Throws `ResourceMissingError` (also for a key of another
   * account), and the errors of `assertMayLimit` and `assertMayUpdate`.
   */
  async updateAccountKey(
    accountId: string,
    id: string,
    { spendLimits = {}, duplicateWindowSeconds }: KeyChanges,
    asker: Principal,
  ): Promise<ApiKey> {
    const key = await this.require(accountId, id);
    // The limits come first: they may be refused, and then nothing may be changed.
    const isLimited = Object.keys(spendLimits).length > 0;
    const budget = isLimited ? await this.changeLimits(accountId, id, spendLimits, asker) : key.budget;
    if (duplicateWindowSeconds === undefined) return { ...key, budget };
    await this.changeDuplicateWindow(id, duplicateWindowSeconds, asker);
    return { ...key, budget, duplicateWindowSeconds };
  }

  /** Creates an operator key; throws the same errors as `createAccountKey`. */
  async createOperatorKey(
    request: NewApiKey & { readonly scopes: readonly OperatorScope[] },
    maker: KeyMaker,
  ): Promise<IssuedApiKey> {
    return this.issue(null, request, maker);
  }

  /** Lists the newest first, including revoked and expired keys. Throws `ResourceMissingError` when the account is unknown. */
  async list(owner: KeyOwner, page: PageRequest): Promise<Page<ApiKey>> {
    if (owner !== null) await this.accounts.require(owner);
    const { data, hasMore } = await findPage(this.keys, 'apiKey', ownedBy(owner), page);
    const budgets = await this.findBudgets(owner, data);
    return { data: data.map((row) => this.toApiKey(row, budgets.get(row.id))), hasMore };
  }

  /** Throws `ResourceMissingError`, also for a key of another owner. */
  async require(owner: KeyOwner, id: string): Promise<ApiKey> {
    const row = await this.requireRow(owner, id);
    const budgets = await this.findBudgets(owner, [row]);
    return this.toApiKey(row, budgets.get(id));
  }

  /**
   * Revokes a key permanently, and its descendants where `revokesDescendants` says so: at once in this process, within a
   * second in every other one. Repeating it changes nothing. Throws `ResourceMissingError`, also for a key of another owner, and
   * `InvalidRequestError` where the request has to say whether descendants are included.
   *
   * @param withDescendants undefined when the request does not say.
   */
  async revoke(
    owner: KeyOwner,
    id: string,
    asker: Principal,
    withDescendants: boolean | undefined,
  ): Promise<ApiKey> {
    const { name, secretHash } = await this.requireRow(owner, id);
    const revoked = await this.transactions.run(async (tx) => {
      const nowMs = this.clock.nowMs();
      const head = { id, accountId: owner };
      // The first revocation counts when several happen at the same time. From here on, the key cannot make another.
      const first = { id, revokedAt: IsNull() };
      const { affected } = await tx.update(ApiKeyEntity, first, { revokedAt: new Date(nowMs) });
      const livingDescendants = await this.lineage.livingDescendants(tx, head, nowMs);
      const facts = { requested: withDescendants, keyId: id, askerId: asker.keyId, livingDescendants };
      const hashes = revokesDescendants(facts) ? await this.lineage.revokeDescendants(tx, head, nowMs) : [];
      if (affected === 1 || hashes.length > 0) {
        await this.audit.record(tx, asker, {
          act: owner === null ? 'operator_key.revoked' : 'api_key.revoked',
          object: id,
          account: owner,
          after: { name, descendants_revoked: hashes.length },
        });
      }
      return hashes;
    }, asker);
    for (const hash of [secretHash.toString('hex'), ...revoked]) this.cache.forget(hash);
    return this.require(owner, id);
  }

  private async issue(
    owner: KeyOwner,
    request: NewApiKey & Pick<NewAccountKey, 'duplicateWindowSeconds'>,
    maker: KeyMaker,
  ): Promise<IssuedApiKey> {
    const nowMs = this.clock.nowMs();
    const secret = makeApiKey(owner === null ? 'operator_key' : 'account_key');
    const row: ApiKeyEntity = {
      id: newId('apiKey'),
      accountId: owner,
      name: request.name,
      hint: apiKeyHint(secret),
      secretHash: Buffer.from(hashApiKey(secret), 'hex'),
      scopes: [...request.scopes],
      createdAt: new Date(nowMs),
      expiresAt: request.expiresAt,
      revokedAt: null,
      createdBy: toMakerName(maker),
      lastUsedAt: null,
      duplicateWindowSeconds: request.duplicateWindowSeconds ?? 0,
    };
    await this.transactions.run(async (tx) => {
      // The maker's row stays locked. Otherwise a key could leave descendants in the second in which other processes
      // still accept it after its revocation, or make one that spends while it gets a limit itself.
      const facts = maker === null ? null : await this.lineage.lockAsker(tx, maker);
      assertMayCreate(request, owner, facts, nowMs);
      await this.checkCount(tx, owner, nowMs);
      await tx.insert(ApiKeyEntity, row);
      await this.audit.record(tx, maker ?? 'system', {
        act: owner === null ? 'operator_key.created' : 'api_key.created',
        object: row.id,
        account: owner,
        after: { name: row.name, scopes: row.scopes, expires_at: row.expiresAt?.toISOString() ?? null },
      });
    }, maker ?? 'system');
    return { ...this.toApiKey(row), secret };
  }

  /**
   * The rows of the requesting key and of the limited one are locked until the engine has committed the limits. The creation
   * of a key at the same time waits, and then finds the limits of its maker.
   */
  private async changeLimits(
    accountId: string,
    id: string,
    changes: Partial<SpendLimits>,
    asker: Principal,
  ): Promise<KeyBudget | null> {
    // This runs before the tx, because it may read a long history and uses another connection of the pool.
    const counted = await this.budgets.count(accountId, id);
    return this.transactions.run(async (tx) => {
      // The tx waits for the engine, which may take longer than other transactions may be idle; its locks must last as long.
      await tx.query(`SET LOCAL idle_in_transaction_session_timeout = '30s'`);
      const facts = await this.lineage.lockForLimits(tx, id, asker);
      const before = await this.budgets.findLimits(tx, accountId, id);
      const nowMs = this.clock.nowMs();
      const spendingDescendants = await this.lineage.spendingDescendants(tx, accountId, id, nowMs);
      assertMayLimit({ before, after: { ...before, ...changes }, spendingDescendants }, facts, nowMs);
      return this.budgets.set(accountId, id, changes, asker, counted, before);
    }, asker);
  }

  /** The change applies at once in this process, and within a second in every other one. */
  private async changeDuplicateWindow(id: string, seconds: number, asker: Principal): Promise<void> {
    const { secretHash } = await this.transactions.run(async (tx) => {
      assertMayUpdate(await this.lineage.lockAsker(tx, asker), this.clock.nowMs());
      const key = await tx.findOneByOrFail(ApiKeyEntity, { id });
      await tx.update(ApiKeyEntity, { id }, { duplicateWindowSeconds: seconds });
      await this.audit.record(tx, asker, {
        act: 'api_key.duplicate_window_changed',
        object: id,
        account: key.accountId,
        before: { duplicate_window_seconds: key.duplicateWindowSeconds },
        after: { duplicate_window_seconds: seconds },
      });
      return key;
    }, asker);
    this.cache.forget(secretHash.toString('hex'));
  }

  /** Two concurrent makers may exceed the limit by one each, which is acceptable: it stops floods and is not a paid quota. */
  private async checkCount(tx: Tx, owner: KeyOwner, nowMs: number): Promise<void> {
    const now = new Date(nowMs);
    const owned = ownedBy(owner);
    const count = await tx.countBy(ApiKeyEntity, [
      { ...owned, revokedAt: IsNull(), expiresAt: IsNull() },
      { ...owned, revokedAt: IsNull(), expiresAt: MoreThan(now) },
      { ...owned, createdAt: MoreThan(new Date(nowMs - DAY_MS)) },
    ]);
    if (count >= KEYS_MAX) {
      throw new InvalidRequestError(`There are ${KEYS_MAX} keys already; revoke some, or wait a day.`);
    }
  }

  private async requireRow(owner: KeyOwner, id: string): Promise<ApiKeyEntity> {
    // Only ids that `newId` could have made reach the database, because it refuses some texts that a path can contain.
    const isPossible = isId('apiKey', id) && (owner === null || isId('account', owner));
    const row = isPossible ? await this.keys.findOneBy({ ...ownedBy(owner), id }) : null;
    if (row === null) throw new ResourceMissingError(owner === null ? 'operator key' : 'API key', id);
    return row;
  }

  /** Operator keys have no budgets, because they spend nothing of their own. */
  private async findBudgets(
    owner: KeyOwner,
    rows: readonly ApiKeyEntity[],
  ): Promise<ReadonlyMap<string, KeyBudget>> {
    if (owner === null) return new Map();
    return this.budgets.find(
      owner,
      rows.map(({ id }) => id),
    );
  }

  private toApiKey(row: ApiKeyEntity, budget: KeyBudget | null = null): ApiKey {
    const { id, accountId, name, hint, scopes, createdAt, createdBy, lastUsedAt, expiresAt, revokedAt } = row;
    const status = getKeyStatus(row, this.clock.nowMs());
    const dates = { createdAt, lastUsedAt, expiresAt, revokedAt };
    const { duplicateWindowSeconds } = row;
    return { id, accountId, name, hint, scopes, status, ...dates, createdBy, budget, duplicateWindowSeconds };
  }
}

/** Returns the maker in the ledger's notation of actors. */
function toMakerName(maker: KeyMaker): string {
  return maker === null ? 'system' : toActor(maker);
}

function ownedBy(owner: KeyOwner): FindOptionsWhere<ApiKeyEntity> {
  return { accountId: owner ?? IsNull() };
}
