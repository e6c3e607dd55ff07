import { Injectable, Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { AUDIT_GENESIS_HASH } from './audit-chain.js';

const HEAD = `SELECT seq, encode(hash, 'hex') AS hash FROM audit_head`;

/**
 * Writes the last hash of the audit log's chain to the service's log when it has changed. Logs are stored outside the
 * database, so a chain that was rewritten there as a whole differs from the logged hashes.
 */
@Injectable()
export class AuditHeadJob implements Job {
  /** Earlier versions sealed events under this name. Their runs may still be in the queue, where jobs without a handler are counted. */
  readonly name = 'audit_seal';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(AuditHeadJob.name);
  private loggedHash = AUDIT_GENESIS_HASH;

  constructor(
    registry: JobRegistry,
    private readonly dataSource: DataSource,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const [head] = await this.dataSource.query<{ seq: string; hash: string }[]>(HEAD);
    if (head === undefined || head.hash === this.loggedHash) return;
    this.logger.log(
      { event: 'audit_log.sealed', seq: head.seq, hash: head.hash },
      `The audit log is sealed up to ${head.seq}: ${head.hash}`,
    );
    this.loggedHash = head.hash;
  }
}
