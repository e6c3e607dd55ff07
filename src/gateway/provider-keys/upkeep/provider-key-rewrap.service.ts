import { Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Not, Repository } from 'typeorm';
import { MasterKeyMissingError, SealBrokenError } from '../../../platform/common/sealed-box.js';
import { EnvelopeService } from '../encryption/envelope.service.js';
import { toSealed } from '../provider-key-vault.service.js';
import { ProviderKeyEntity } from '../provider-key.entity.js';
import { toBinding } from '../provider-key.js';

/** How many keys are read at a time and wrapped concurrently. A key management service takes some milliseconds for each. */
const BATCH_MAX = 50;

export type RewrapCounts = {
  readonly rewrapped: number;
  /** Keys that could not be wrapped again, because their master key is missing or they were changed. */
  readonly unreadable: number;
};

/**
 * Wraps data keys of older master keys with the newest one, so that the older ones may be removed. It needs no tx and no lock: each
 * row is updated only if it has not changed since it was read, so any number of processes may do this while calls read the rows.
 */
@Injectable()
export class ProviderKeyRewrapService {
  private readonly logger = new Logger(ProviderKeyRewrapService.name);

  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    private readonly envelope: EnvelopeService,
  ) {}

  /** Throws what the database and the key encryption throw. Keys that were wrapped by then stay wrapped. */
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
    if (rewrapped > 0) {
      const event = 'provider_key.rewrapped';
      this.logger.log(
        { event, rewrapped, masterKey: current },
        'Provider keys were wrapped with the newest master key',
      );
    }
    for (const [masterKey, keys] of missing) {
      const event = 'provider_key.master_key_missing';
      this.logger.error(
        { event, masterKey, keys },
        'COFFER_MASTER_KEYS lacks a key that provider keys need; add it again',
      );
    }
    return { rewrapped, unreadable };
  }

  /** Reads keys ordered by account and id, so that unreadable ones are skipped and not read again. */
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
      const { wrappedKey, masterKeyId } = await this.envelope.rewrap(key.sealed, toBinding(key));
      const { accountId, id } = key;
      const asRead = { accountId, id, wrappedKey: key.sealed.wrappedKey };
      const { affected } = await this.rows.update(asRead, { wrappedKey, masterKeyId });
      return affected === 1 ? 'rewrapped' : 'changed';
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
      if (error instanceof MasterKeyMissingError)
        missing.set(error.keyId, (missing.get(error.keyId) ?? 0) + 1);
      else
        this.logger.error(
          { event: 'provider_key.damaged', account: row.accountId, key: row.id, err: error },
          'A provider key cannot be decrypted, because its row was changed; the customer has to attach it again',
        );
      return 'unreadable';
    }
  }
}
