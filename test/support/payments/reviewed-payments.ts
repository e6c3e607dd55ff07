import { expect } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { TopUpSettlementService } from '../../../src/payments/settlement/top-up-settlement.service.js';
import { settled, startTopUp, type OpenTopUp } from '../../fixtures/top-up-books.js';
import type { TestApp } from '../app/test-app.js';

type Body = Readonly<Record<string, unknown>>;
export type Reviewed = { readonly topUp: OpenTopUp; readonly id: string; readonly intent: string };

/** Payments of $10.50 that credit nothing and wait for an operator, and what becomes of them. */
export class ReviewedPayments {
  constructor(
    private readonly app: TestApp,
    private readonly control: SandboxStripeControl,
  ) {}

  async reviewOf(payment: string): Promise<Body> {
    const { data } = (await this.app.operator.get('/v1/payment_reviews?limit=100')).expect(200).body as {
      data: Body[];
    };
    const found = data.find((review) => review['payment'] === payment);
    if (found === undefined) throw new Error(`${payment} is not under review`);
    return found;
  }

  async read({ id }: Reviewed): Promise<Body> {
    return (await this.app.operator.get(`/v1/payment_reviews/${id}`)).expect(200).body as Body;
  }

  /** Pays a page of which Stripe reports something else than was quoted. */
  async payAnother(topUp: OpenTopUp, changes: Body): Promise<Reviewed> {
    await this.control.overrideCheckoutSession(topUp.sessionId, changes);
    await this.control.pay(topUp.sessionId);
    await settled(this.app);
    const review = await this.reviewOf(topUp.sessionId);
    return { topUp, id: String(review['id']), intent: String(review['payment_intent']) };
  }

  async contradicting(): Promise<Reviewed> {
    return this.payAnother(await startTopUp(this.app), {
      client_reference_id: 'tu_01KB2H7Q0000000000000000AA',
    });
  }

  /** Credited for a payment of its own, and then paid by another one. */
  async paidTwice(): Promise<Reviewed> {
    const first = await startTopUp(this.app);
    await this.control.pay(first.sessionId);
    const second = await startTopUp(this.app);
    const same = { client_reference_id: first.id, metadata: { top_up_id: first.id } };
    return { ...(await this.payAnother(second, same)), topUp: first };
  }

  /** Stripe's later word agrees with the quote. */
  async agree(review: Reviewed): Promise<void> {
    await this.credit(review);
    await settled(this.app);
  }

  /** The same, without waiting for what else goes on. */
  async credit({ topUp }: Reviewed): Promise<void> {
    await this.control.overrideCheckoutSession(topUp.sessionId, { client_reference_id: topUp.id });
    await this.app.app.get(TopUpSettlementService).settle(topUp.sessionId);
  }

  async decide({ id }: Reviewed, decision: 'return' | 'dismiss'): Promise<Body> {
    const answer = await this.app.operator.post(`/v1/payment_reviews/${id}/${decision}`, {
      reason: 'checked',
    });
    await settled(this.app);
    return answer.expect(200).body as Body;
  }

  async refundInDashboard({ intent }: Reviewed, amount: number): Promise<void> {
    const { secretKey } = this.app.settings.stripe ?? { secretKey: '' };
    const answer = await fetch(`${this.app.stripe?.baseUrl}/v1/refunds`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secretKey}` },
      body: new URLSearchParams({ payment_intent: intent, amount: `${amount}` }),
    });
    expect(answer.status).toBe(200);
    await settled(this.app);
  }
}
