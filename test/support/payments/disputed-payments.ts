import type { SharedShop } from '../../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from './return-history.js';
import type { Step } from './return-histories.js';

/** A customer's payments, each of $10.50 for $10.00 of credit, and the disputes of them by name. */
export class DisputedPayments {
  private readonly disputes = new Map<string, { readonly payment: ReturnHistory; readonly id: string }>();

  private constructor(readonly payments: readonly [ReturnHistory, ReturnHistory]) {}

  /** The first payment is spent before the second one is made. */
  static async begin(app: SharedShop): Promise<DisputedPayments> {
    const first = await beginHistory(app, app.control);
    await first.take(['spend', 1_000]);
    return new DisputedPayments([first, await beginHistory(app, app.control, first.customer)]);
  }

  get accountId(): string {
    return this.payments[0].accountId;
  }

  async dispute(name: string, payment: 0 | 1, status = 'needs_response', cents = 1_050): Promise<void> {
    await this.payments[payment].take(['dispute', status, cents]);
    this.disputes.set(name, { payment: this.payments[payment], id: this.payments[payment].disputeId });
  }

  /** Below zero, Stripe takes it. */
  moves(name: string, cents: number): Promise<void> {
    return this.takeAll(name, ['dispute_moves', cents]);
  }

  writeOff(name: string): Promise<void> {
    return this.takeAll(name, ['write_off']);
  }

  /** Gives up what is owed, and lets the customer go on. */
  async forgive(name: string): Promise<void> {
    await this.takeAll(name, ['write_off'], ['unfreeze']);
  }

  async takeAll(name: string, ...steps: readonly Step[]): Promise<void> {
    for (const step of steps) await this.named(name).take(step);
  }

  begin(name: string, step: Step): Promise<void> {
    return this.named(name).begin(step);
  }

  async left(): Promise<{ available: number; debt: number | undefined; givenUp: number }> {
    const { available, debt, legs } = await this.payments[0].left();
    return { available, debt, givenUp: (legs['write_off'] ?? 0) - (legs['write_off_reversal'] ?? 0) };
  }

  disputeId(name: string): string {
    return this.named(name).disputeId;
  }

  private named(name: string): ReturnHistory {
    const { payment, id } = this.disputes.get(name) ?? { payment: this.payments[0], id: '' };
    payment.disputeId = id;
    return payment;
  }
}
