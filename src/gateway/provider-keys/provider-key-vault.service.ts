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
import { toBinding, type ProviderKey, type SealedProviderKey } from './provider-key.js';

/**
 * Finds and decrypts customers' provider keys for BYOK calls. Between calls it only keeps encrypted keys; a decrypted key exists only
 * for the call that needs it.
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
   * Returns the account's live keys. A returned key was live after the call began. An empty answer may be a second old, so the commit
   * that charges the wallet has to check it again (`unlessOwnKeyAt`). Throws `DatabaseUnavailableError`.
   */
  findLive(accountId: string): Promise<readonly SealedProviderKey[]> {
    return this.cache.find(accountId);
  }

  /** Reads the live key from the database. Throws `ResourceMissingError` when there is none. */
  async requireLive(accountId: string, provider: KeyedProvider): Promise<SealedProviderKey> {
    const row = await this.rows.findOneBy({ accountId, provider, removedAt: IsNull() });
    const key = row === null ? null : toSealed(row);
    if (key === null) throw new ResourceMissingError('provider key', provider, 'provider');
    return key;
  }

  /**
   * Returns a key by its id for a call that began with it. A removed key is returned as well until it is erased; then the result is
   * null. Throws what the database throws.
   */
  async findForRunningCall(accountId: string, id: string): Promise<SealedProviderKey | null> {
    const row = await this.rows.findOneBy({ accountId, id });
    return row === null ? null : toSealed(row);
  }

  /** Decrypts the key. Throws `ProviderKeyUnreadableError` (503); the log says why. */
  async open(key: SealedProviderKey): Promise<string> {
    try {
      const secret = await this.envelope.open(key.sealed, toBinding(key));
      return secret.toString();
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
      const fields = { account: key.accountId, key: key.id, masterKey: key.sealed.masterKeyId, err: error };
      this.logger.error(
        { event: 'provider_key.unreadable', ...fields },
        'A provider key cannot be decrypted',
      );
      throw new ProviderKeyUnreadableError(key.provider, error);
    }
  }

  /** Must be called when a key was attached, in this process or another one. */
  forget({ accountId }: Pick<ProviderKey, 'accountId'>): void {
    this.cache.forget(accountId);
  }
}

export function toSealed(row: ProviderKeyEntity): SealedProviderKey | null {
  const { accountId, id, provider, fallBackToWallet, ciphertext, wrappedKey, masterKeyId } = row;
  if (ciphertext === null || wrappedKey === null || masterKeyId === null) return null;
  return { accountId, id, provider, fallBackToWallet, sealed: { ciphertext, wrappedKey, masterKeyId } };
}
