import { timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { isUnavailable } from '../../platform/database/constraints.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

/** Finds the top-up for a payer who returns from a payment page. They may see their own top-up and no other. */
@Injectable()
export class CheckoutReturnsService {
  constructor(private readonly topUps: TopUpRepository) {}

  /**
   * Returns null unless `session` is the id of the top-up's payment page. That id is long and random, and Stripe shows it only to
   * the payer, so a caller who has it has paid or was sent the page to pay. The top-up's id is no secret: it is in logs and events.
   */
  async find(id: unknown, session: unknown): Promise<TopUp | null> {
    if (typeof id !== 'string' || typeof session !== 'string') return null;
    try {
      const topUp = await this.topUps.findAnywhere(id);
      return topUp !== null && isSame(session, topUp.checkoutSessionId) ? topUp : null;
    } catch (error) {
      // The page is for a customer who has just paid, so it shows a text that is always true instead of an error.
      if (isUnavailable(error)) return null;
      throw error;
    }
  }
}

/** Compares in constant time, so that the duration does not reveal where the first difference is. */
function isSame(session: string, known: string | null): boolean {
  if (known === null || session.length !== known.length) return false;
  const [given, expected] = [Buffer.from(session), Buffer.from(known)];
  return given.length === expected.length && timingSafeEqual(given, expected);
}
