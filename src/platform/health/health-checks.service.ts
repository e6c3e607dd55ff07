import { Injectable } from '@nestjs/common';

/** The parts that a module may report on; the names are on the wire. */
export type CheckedPart = 'engine';

/** The health of modules above this one. Each adds its checks while it starts. */
@Injectable()
export class HealthChecks {
  private readonly checks = new Map<CheckedPart, () => boolean>();

  /** `isHealthy` is called for every probe, so it must be quick and use neither the network nor the database. */
  add(part: CheckedPart, isHealthy: () => boolean): void {
    this.checks.set(part, isHealthy);
  }

  /** Returns true also for a part that no module of this process has. */
  isHealthy(part: CheckedPart): boolean {
    return this.checks.get(part)?.() ?? true;
  }
}
