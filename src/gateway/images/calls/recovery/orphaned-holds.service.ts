import { Inject, Injectable, Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseClock } from '../../../../platform/database/ledger-clock.js';
import { executeAll, throwFirst } from '../../../../money/wallets/execute-all.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';

/** How many holds one run releases; the next run continues. */
const BATCH_MAX = 200;

/**
 * Finds open holds that no process will settle any more: the process died before the row was written, or the call failed and
 * the database was unavailable when the hold should have been voided. Outside of the engine only this query reads `holds`, because
 * it has to join it with `generations`; the engine makes the change.
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
export class OrphanedHoldsService {
  private readonly logger = new Logger(OrphanedHoldsService.name);

  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    private readonly clock: DatabaseClock,
  ) {}

  /** Voids these holds and returns how many there were. If a call is still alive, it then delivers nothing and charges nothing. */
  async release(): Promise<number> {
    const before = new Date((await this.clock.nowMs()) - this.limits.orphanedAfterMs).toISOString();
    const orphans = await this.dataSource.query<Orphan[]>(FIND_ORPHANS, [before, BATCH_MAX]);
    if (orphans.length > 0) {
      const holds = orphans.map(({ holdId }) => holdId);
      this.logger.warn({ event: 'hold.orphans_released', holds }, 'Holds of calls that died are released');
    }
    const voids = orphans.map((orphan) => ({ ...orphan, type: 'void', actor: 'system' }) as const);
    const failures = await executeAll(this.engine, voids);
    throwFirst(failures);
    return orphans.length;
  }
}
