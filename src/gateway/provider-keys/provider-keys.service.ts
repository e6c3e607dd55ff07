import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, MoreThan, Repository } from 'typeorm';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { actorName, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { InvalidRequestError, ResourceMissingError } from '../../platform/errors/common.errors.js';
import { EnvelopeService } from './encryption/envelope.service.js';
import {
  requireProvider,
  type KeyedProvider,
  toBinding,
  type ProviderKey,
  type RemovedReason,
} from './provider-key.js';
import { ProviderKeyVaultService } from './provider-key-vault.service.js';
import { ProviderKeyEntity } from './provider-key.entity.js';

/** Every attached key keeps a row for the audit, so a script that attaches keys in a loop has to be stopped. */
export const ATTACHED_PER_DAY_MAX = 100;
/** The advisory lock by which changes of one account wait for each other. No other lock may use this number. */
const CHANGE_LOCK_CLASS = 4_711_016;
const LAST_CHARACTERS = 4;

export type NewProviderKey = { readonly secret: string; readonly fallBackToWallet: boolean };

/** Attaches, shows and removes the keys that customers have at providers. */
@Injectable()
export class ProviderKeysService {
  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    private readonly accounts: AccountsService,
    private readonly envelope: EnvelopeService,
    private readonly vault: ProviderKeyVaultService,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Attaches a key and replaces an earlier one. When this resolves, every call that begins afterwards uses the key, in any process.
   * Throws `ResourceMissingError` for an unknown provider, and `InvalidRequestError` beyond the limit for one day.
   *
   * @param by the actor for the audit.
   */
  async attach(
    accountId: string,
    provider: string,
    { secret, fallBackToWallet }: NewProviderKey,
    by: AuditActor,
  ): Promise<ProviderKey> {
    const name = requireProvider(provider);
    const row = { accountId, provider: name, id: newId('providerKey') };
    // The key is encrypted before the tx begins, because the master keys may be kept by a service over the network.
    const sealed = await this.envelope.seal(Buffer.from(secret), toBinding(row));
    const createdAt = new Date(this.clock.nowMs());
    const attached: ProviderKeyEntity = {
      ...row,
      ...sealed,
      lastFour: secret.slice(-LAST_CHARACTERS),
      fallBackToWallet,
      createdAt,
      attachedBy: actorName(by),
      removedAt: null,
      removedBy: null,
      removedReason: null,
    };
    await this.transactions.run(async (tx) => {
      await this.checkCountLocked(tx, accountId);
      const replaced = await this.end(tx, accountId, name, 'replaced', by);
      await tx.insert(ProviderKeyEntity, attached);
      await this.audit.record(tx, by, {
        act: 'provider_key.attached',
        object: attached.id,
        account: accountId,
        after: { provider: name, fall_back_to_wallet: fallBackToWallet, replaced },
      });
    }, by);
    this.vault.forget(attached);
    return toProviderKey(attached);
  }

  /** Returns the account's live keys, newest first. */
  async list(accountId: string): Promise<ProviderKey[]> {
    const rows = await this.rows.find({ where: { accountId, removedAt: IsNull() }, order: { id: 'DESC' } });
    return rows.map(toProviderKey);
  }

  /** Returns, for operators, every key that the account ever attached, newest first. Throws `ResourceMissingError`. */
  async history(accountId: string, page: PageRequest): Promise<Page<ProviderKey>> {
    await this.accounts.require(accountId);
    const { data, hasMore } = await findPage(this.rows, 'providerKey', { accountId }, page);
    return { data: data.map(toProviderKey), hasMore };
  }

  /** Returns the live key. Throws `ResourceMissingError` when there is none. */
  async require(accountId: string, provider: string): Promise<ProviderKey> {
    const row = await this.rows.findOneBy({
      accountId,
      provider: requireProvider(provider),
      removedAt: IsNull(),
    });
    if (row === null) throw new ResourceMissingError('provider key', provider, 'provider');
    return toProviderKey(row);
  }

  /**
   * Removes the live key. When this resolves, no new call uses it, in any process; running calls are finished with it. Throws
   * `ResourceMissingError` when there is none.
   */
  async remove(accountId: string, provider: string, by: AuditActor): Promise<ProviderKey> {
    const name = requireProvider(provider);
    const { id } = await this.require(accountId, name);
    const isOurs = await this.transactions.run(async (tx) => {
      const ended = await this.end(tx, accountId, name, 'deleted', by);
      const entry = {
        act: 'provider_key.removed',
        object: id,
        account: accountId,
        after: { provider: name },
      } as const;
      if (ended) await this.audit.record(tx, by, entry);
      return ended;
    }, by);
    if (!isOurs) throw new ResourceMissingError('provider key', provider, 'provider');
    const row = await this.rows.findOneByOrFail({ accountId, id });
    return toProviderKey(row);
  }

  private async end(
    tx: Tx,
    accountId: string,
    provider: KeyedProvider,
    removedReason: RemovedReason,
    by: AuditActor,
  ): Promise<boolean> {
    const { affected } = await tx.update(
      ProviderKeyEntity,
      { accountId, provider, removedAt: IsNull() },
      { removedAt: new Date(this.clock.nowMs()), removedBy: actorName(by), removedReason },
    );
    return (affected ?? 0) > 0;
  }

  /** Makes other requests that attach a key for the account wait until the tx ends. */
  private async checkCountLocked(tx: Tx, accountId: string): Promise<void> {
    await tx.query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [CHANGE_LOCK_CLASS, accountId]);
    const dayAgo = new Date(this.clock.nowMs() - DAY_MS);
    const ofToday = await tx.countBy(ProviderKeyEntity, { accountId, createdAt: MoreThan(dayAgo) });
    if (ofToday >= ATTACHED_PER_DAY_MAX) {
      throw new InvalidRequestError(
        `${ATTACHED_PER_DAY_MAX} provider keys were attached in the last day. Nothing was changed; try again in a day.`,
      );
    }
  }
}

function toProviderKey(row: ProviderKeyEntity): ProviderKey {
  const { accountId, id, provider, lastFour, fallBackToWallet, createdAt, attachedBy } = row;
  const { removedAt, removedBy, removedReason, masterKeyId } = row;
  const shown = { accountId, id, provider, lastFour, fallBackToWallet, createdAt, attachedBy };
  return { ...shown, removedAt, removedBy, removedReason, masterKeyId };
}
