import { Injectable } from '@nestjs/common';
import { JobRegistry } from '../jobs/job-registry.js';
import type { Job, JobContext, JobPayload } from '../jobs/job.js';
import { AuditSeal } from './audit-seal.service.js';

/** Every minute: so long an event is protected by the database's grants and triggers alone. */
@Injectable()
export class AuditSealJob implements Job {
  readonly name = 'audit_seal';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly seal: AuditSeal,
  ) {
    registry.register(this);
  }

  async run(_payload: JobPayload, { signal }: JobContext): Promise<void> {
    await this.seal.catchUp(signal);
  }
}
