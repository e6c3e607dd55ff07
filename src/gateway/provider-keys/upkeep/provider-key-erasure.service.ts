import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, LessThan, Not, Repository } from 'typeorm';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { ProviderKeyEntity } from '../provider-key.entity.js';

/**
 * A call lasts two minutes at most, and recovery gives up twelve minutes after its start; until then the key of the call is needed.
 * This is twice as long, because clocks may differ and jobs may be late.
 */
export const ERASED_AFTER_MS = 30 * 60_000;
/** How many rows one statement changes, so that none holds its locks for long. */
const BATCH_MAX = 500;

/** Erases removed keys when no call can need them any more. Their rows stay for the audit. */
@Injectable()
export class ProviderKeyErasureService {
  private readonly logger = new Logger(ProviderKeyErasureService.name);

  constructor(
    @InjectRepository(ProviderKeyEntity) private readonly rows: Repository<ProviderKeyEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Returns how many keys were erased. Throws what the database throws. */
  async run(): Promise<number> {
    const before = new Date(this.clock.nowMs() - ERASED_AFTER_MS);
    for (let erased = 0; ;) {
      const due = await this.rows.find({
        select: { accountId: true, id: true },
        where: { removedAt: LessThan(before), ciphertext: Not(IsNull()) },
        order: { removedAt: 'ASC' },
        take: BATCH_MAX,
      });
      // The account is the first column of the primary key, so both are named.
      await this.rows.update(
        {
          accountId: In(due.map(({ accountId }) => accountId)),
          id: In(due.map(({ id }) => id)),
        },
        { ciphertext: null, wrappedKey: null, masterKeyId: null },
      );
      erased += due.length;
      if (due.length === BATCH_MAX) continue;
      if (erased > 0) {
        this.logger.log({ event: 'provider_key.erased', erased }, 'Removed provider keys were erased');
      }
      return erased;
    }
  }
}
