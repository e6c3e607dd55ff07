import { Inject, Injectable, Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseClock } from '../../../../platform/database/database-clock.js';
import { executeAll, throwFirst } from '../../../../money/wallets/execute-all.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';

/** One look of the job; what is left comes with the next. */
const BATCH_MAX = 200;

/**
 * Open holds of generations that nobody will settle any more: the call died before its row was written, or
 * it failed and the ledger was away when the hold was to be voided. The one place that reads `holds`
 * beside the engine, because the answer lies in both tables; it changes nothing by itself.
 */
const FIND_ORPHANS = `
  SELECT h.account_id AS "accountId", h.id AS "holdId"
    FROM holds h
    LEFT JOIN generations g ON g.account_id = h.account_id AND g.id = substr(h.reference, length('generation:') + 1)
   WHERE h.status = 'authorized' AND h.reference LIKE 'generation:%' AND h.created_at < $1
     AND (g.id IS NULL OR g.status = 'failed')
   ORDER BY h.expires_at LIMIT $2`;

type Orphan = { readonly accountId: string; readonly holdId: string };

@Injectable()
export class OrphanedHolds {
  private readonly logger = new Logger(OrphanedHolds.name);

  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    private readonly clock: DatabaseClock,
  ) {}

  /** Voids them; a call that is alive after all then delivers nothing and charges nothing. Answers how many. */
  async release(): Promise<number> {
    const before = new Date((await this.clock.nowMs()) - this.limits.orphanedAfterMs).toISOString();
    const orphans = await this.dataSource.query<Orphan[]>(FIND_ORPHANS, [before, BATCH_MAX]);
    if (orphans.length > 0) {
      this.logger.warn({ holds: orphans.map(({ holdId }) => holdId) }, 'Releasing holds of calls that died');
    }
    const voids = orphans.map((orphan) => ({ ...orphan, type: 'void', actor: 'system' }) as const);
    const failures = await executeAll(this.engine, voids);
    throwFirst(failures);
    return orphans.length;
  }
}
