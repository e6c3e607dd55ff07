import { timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isUnavailable } from '../../platform/database/constraints.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

/** What the payer who comes back from a payment page may see: their own top-up, or nothing. */
@Injectable()
export class CheckoutReturns {
  constructor(private readonly topUps: TopUpRepository) {}

  /**
   * Null unless `session` is the name of the payment page of `id`. That name is long and random, and Stripe shows it to the
   * payer alone: whoever brings it has paid, or was sent the page to pay. The id is no such secret; it stands in logs and events.
   */
  async find(id: unknown, session: unknown): Promise<TopUp | null> {
    if (typeof id !== 'string' || typeof session !== 'string') return null;
    try {
      const topUp = await this.topUps.findAnywhere(id);
      return topUp !== null && isSame(session, topUp.checkoutSessionId) ? topUp : null;
    } catch (error) {
      // The page is shown to somebody who has just paid: words that are always true instead of an error.
      if (isUnavailable(error)) return null;
      throw error;
    }
  }
}

/** Takes as long wherever the first difference is. */
function isSame(session: string, known: string | null): boolean {
  if (known === null || session.length !== known.length) return false;
  const [brought, kept] = [Buffer.from(session), Buffer.from(known)];
  return brought.length === kept.length && timingSafeEqual(brought, kept);
}
