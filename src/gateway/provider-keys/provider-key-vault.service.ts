import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Repository } from 'typeorm';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { SealBrokenError } from '../../platform/common/sealed-box.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { Envelope } from './encryption/envelope.service.js';
import type { KeyedProvider } from './keyed-provider.js';
import { ProviderKeyCache } from './provider-key-cache.js';
import { ProviderKeyEntity } from './provider-key.entity.js';
import { ProviderKeyUnreadableError } from './provider-key.errors.js';
import { rowOf, type ProviderKey, type SealedProviderKey } from './provider-key.js';

/**
 * Finds and opens customers' provider keys, for the calls that go over them. What it remembers between calls is
 * encrypted; a key in plain words lives as long as the call that it was opened for.
 */
@Injectable()
export class ProviderKeyVault {
  private readonly logger = new Logger(ProviderKeyVault.name);
  private readonly cache: ProviderKeyCache;

  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    private readonly envelope: Envelope,
    @Inject(CLOCK) clock: MonotonicClock,
  ) {
    this.cache = new ProviderKeyCache(async (accountIds) => {
      const found = await this.rows.findBy({ accountId: In([...accountIds]), removedAt: IsNull() });
      return found.flatMap((row) => toSealed(row) ?? []);
    }, clock);
  }

  /**
   * The account's live keys. One that is answered was live after the call began. That there are none may be a second old, and
   * has to be checked by whatever charges for the call (`unlessOwnKeyAt`). Throws `DatabaseUnavailableError`.
   */
  findLive(accountId: string): Promise<readonly SealedProviderKey[]> {
    return this.cache.find(accountId);
  }

  /** The same as it stands in the database now. Throws `ResourceMissingError` when there is none. */
  async requireLive(accountId: string, provider: KeyedProvider): Promise<SealedProviderKey> {
    const row = await this.rows.findOneBy({ accountId, provider, removedAt: IsNull() });
    const key = row === null ? null : toSealed(row);
    if (key === null) throw new ResourceMissingError('provider key', provider, 'provider');
    return key;
  }

  /**
   * A key by its id, for a call that was begun with it: a removed one too, until it is erased. Null when it is
   * erased. Throws what the database throws.
   */
  async findForRunningCall(accountId: string, id: string): Promise<SealedProviderKey | null> {
    const row = await this.rows.findOneBy({ accountId, id });
    return row === null ? null : toSealed(row);
  }

  /** The key in plain words. Throws `ProviderKeyUnreadableError` (503); the log says why. */
  async open(key: SealedProviderKey): Promise<string> {
    try {
      const secret = await this.envelope.open(key.sealed, rowOf(key));
      return secret.toString();
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
      const fields = { account: key.accountId, key: key.id, masterKey: key.sealed.masterKeyId, err: error };
      this.logger.error(fields, 'A provider key cannot be read');
      throw new ProviderKeyUnreadableError(key.provider, error);
    }
  }

  /** Call when a key was attached, here or in another process. */
  forget({ accountId }: Pick<ProviderKey, 'accountId'>): void {
    this.cache.forget(accountId);
  }
}

export function toSealed(row: ProviderKeyEntity): SealedProviderKey | null {
  const { accountId, id, provider, fallBackToWallet, ciphertext, wrappedKey, masterKeyId } = row;
  if (ciphertext === null || wrappedKey === null || masterKeyId === null) return null;
  return { accountId, id, provider, fallBackToWallet, sealed: { ciphertext, wrappedKey, masterKeyId } };
}
