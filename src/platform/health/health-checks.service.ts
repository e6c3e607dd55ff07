import { Injectable } from '@nestjs/common';

/** The parts that a module may answer for; the names are on the wire. */
export type CheckedPart = 'engine';

/** What modules above this one say of their own health. Each adds its checks while it starts. */
@Injectable()
export class HealthChecks {
  private readonly checks = new Map<CheckedPart, () => boolean>();

  /** `isHealthy` is called for every question, so it must be quick: it asks neither the network nor the database. */
  add(part: CheckedPart, isHealthy: () => boolean): void {
    this.checks.set(part, isHealthy);
  }

  /** True also for a part that no module of this process has. */
  isHealthy(part: CheckedPart): boolean {
    return this.checks.get(part)?.() ?? true;
  }
}
