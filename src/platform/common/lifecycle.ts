import { Injectable } from '@nestjs/common';

/**
 * Says whether this process still accepts new work. Readiness fails first, so that a load balancer sends new requests
 * to other processes while the accepted ones are finished.
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
