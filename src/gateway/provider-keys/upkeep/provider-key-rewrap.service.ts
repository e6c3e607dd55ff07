import { Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Not, Repository } from 'typeorm';
import { MasterKeyMissingError, SealBrokenError } from '../../../platform/common/sealed-box.js';
import { Envelope } from '../encryption/envelope.service.js';
import { toSealed } from '../provider-key-vault.service.js';
import { ProviderKeyEntity } from '../provider-key.entity.js';
import { rowOf } from '../provider-key.js';

/** Read at a time, and wrapped beside each other; a key management service takes some milliseconds each. */
const BATCH_MAX = 50;

export type RewrapCounts = {
  readonly rewrapped: number;
  /** Left as they are: their master key is gone, or they were tampered with. */
  readonly unreadable: number;
};

/**
 * Wraps anew what older master keys wrapped, so that those may be retired. No tx and no lock: each row is
 * exchanged only if it is still what was read, so any number of processes may do it while calls read the rows.
 */
@Injectable()
export class ProviderKeyRewrap {
  private readonly logger = new Logger(ProviderKeyRewrap.name);

  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    private readonly envelope: Envelope,
  ) {}

  /** Throws what the database and the master keys' keeper throw; what is done by then stays done. */
  async run(): Promise<RewrapCounts> {
    const current = this.envelope.currentKeyId;
    const missing = new Map<string, number>();
    let rewrapped = 0;
    let unreadable = 0;
    if (current === null) return { rewrapped, unreadable };
    for (let after: ProviderKeyEntity | undefined; ;) {
      const batch = await this.next(current, after);
      const outcomes = await Promise.all(batch.map((row) => this.rewrap(row, missing)));
      rewrapped += outcomes.filter((outcome) => outcome === 'rewrapped').length;
      unreadable += outcomes.filter((outcome) => outcome === 'unreadable').length;
      after = batch.at(-1);
      if (batch.length < BATCH_MAX) break;
    }
    if (rewrapped > 0) this.logger.log({ rewrapped, masterKey: current }, 'Wrapped provider keys anew');
    for (const [masterKey, keys] of missing) {
      this.logger.error({ masterKey, keys }, 'COFFER_MASTER_KEYS lacks a key that provider keys need');
    }
    return { rewrapped, unreadable };
  }

  /** In order of account and id, so that what cannot be read is passed by and not met again. */
  private next(current: string, after: ProviderKeyEntity | undefined): Promise<ProviderKeyEntity[]> {
    const query = this.rows
      .createQueryBuilder('key')
      .where({ masterKeyId: Not(current), ciphertext: Not(IsNull()) })
      .orderBy({ 'key.accountId': 'ASC', 'key.id': 'ASC' })
      .limit(BATCH_MAX);
    if (after !== undefined) {
      query.andWhere('(key.accountId, key.id) > (:accountId, :id)', {
        accountId: after.accountId,
        id: after.id,
      });
    }
    return query.getMany();
  }

  private async rewrap(
    row: ProviderKeyEntity,
    missing: Map<string, number>,
  ): Promise<'rewrapped' | 'unreadable' | 'changed'> {
    const key = toSealed(row);
    if (key === null) return 'changed';
    try {
      const { wrappedKey, masterKeyId } = await this.envelope.rewrap(key.sealed, rowOf(key));
      const { accountId, id } = key;
      const asRead = { accountId, id, wrappedKey: key.sealed.wrappedKey };
      const { affected } = await this.rows.update(asRead, { wrappedKey, masterKeyId });
      return affected === 1 ? 'rewrapped' : 'changed';
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
      if (error instanceof MasterKeyMissingError)
        missing.set(error.keyId, (missing.get(error.keyId) ?? 0) + 1);
      else
        this.logger.error({ account: row.accountId, key: row.id, err: error }, 'A provider key is damaged');
      return 'unreadable';
    }
  }
}
