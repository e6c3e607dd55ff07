import { Injectable } from '@nestjs/common';
import type { Job } from './job.js';

const NAME_PATTERN = /^[a-z][a-z0-9_]{0,99}$/;

/** Every job that this version of the service knows. Modules register theirs while Nest builds them. */
@Injectable()
export class JobRegistry {
  private readonly jobs = new Map<string, Job>();

  register(job: Job): void {
    if (!NAME_PATTERN.test(job.name)) throw new Error(`'${job.name}' is no job name: use snake_case`);
    if (this.jobs.has(job.name)) throw new Error(`the job '${job.name}' is registered twice`);
    this.jobs.set(job.name, job);
  }

  has(name: string): boolean {
    return this.jobs.has(name);
  }

  all(): readonly Job[] {
    return [...this.jobs.values()];
  }
}
