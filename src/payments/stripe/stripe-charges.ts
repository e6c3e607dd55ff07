import { Injectable } from '@nestjs/common';
import { METADATA_TOP_UP } from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';

/** One attempt to charge a card or a bank account, as Stripe reports it now. */
export type ChargeAttempt = {
  readonly id: string;
  readonly livemode: boolean;
  /** `succeeded`, `pending` or `failed`; Stripe may add values. */
  readonly status: string;
  /** Our id, which Stripe copies from the payment; null for charges that other systems make on the same Stripe account. */
  readonly topUpId: string | null;
  /** The issuer's reason (`insufficient_funds`), or else Stripe's (`card_declined`). */
  readonly failureReason: string | null;
  readonly attemptedAt: Date;
};

const SECOND_MS = 1_000;

/** Reads Stripe's charges. */
@Injectable()
export class StripeCharges {
  constructor(private readonly api: StripeApi) {}

  /** Returns null when there is no such charge. Throws what the `PaymentGateway` throws. */
  async retrieve(id: string): Promise<ChargeAttempt | null> {
    const charge = await this.api.find('charge', (stripe) => stripe.charges.retrieve(id));
    if (charge === null) return null;
    return {
      id: charge.id,
      livemode: charge.livemode,
      status: charge.status,
      topUpId: charge.metadata[METADATA_TOP_UP] ?? null,
      failureReason: charge.outcome?.reason ?? charge.failure_code ?? null,
      attemptedAt: new Date(charge.created * SECOND_MS),
    };
  }
}
