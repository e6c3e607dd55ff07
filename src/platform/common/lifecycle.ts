import { Injectable } from '@nestjs/common';

/**
 * Whether this process still wants new work. Readiness turns red first, so that a load balancer looks
 * elsewhere while the accepted requests are finished.
 */
@Injectable()
export class Lifecycle {
  #draining = false;

  get draining(): boolean {
    return this.#draining;
  }

  drain(): void {
    this.#draining = true;
  }
}
