import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { PAYMENT_GATEWAY, type Payer, type PaymentGateway } from './payment-gateway.js';
import { StripeCustomerEntity } from './stripe-customer.entity.js';

/** One Stripe customer an account and mode: cards, invoices and receipts hang on it. */
@Injectable()
export class StripeCustomers {
  constructor(
    @InjectRepository(StripeCustomerEntity) private readonly customers: Repository<StripeCustomerEntity>,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** The account's customer id, made when there is none. Throws what the gateway throws. */
  async ensure(payer: Payer): Promise<string> {
    const { accountId } = payer;
    const known = await this.find(accountId);
    if (known !== null) return known.customerId;
    // Another key than before names were sent: Stripe refuses a key that comes back with other parameters.
    await this.insert(accountId, await this.gateway.createCustomer(payer, `customer:${accountId}`));
    // Whoever was faster: one row, and at Stripe one customer, because both asked with one key.
    return (await this.require(accountId)).customerId;
  }

  /** A new customer for one that Stripe lost. Does nothing when somebody replaced it before. */
  async replace(payer: Payer, missingId: string): Promise<string> {
    const { accountId } = payer;
    const { customerId, generation } = await this.require(accountId);
    if (customerId !== missingId) return customerId;
    const next = generation + 1;
    const replacement = await this.gateway.createCustomer(payer, `customer:${accountId}:${next}`);
    const { livemode } = this.gateway;
    await this.customers.update(
      { accountId, livemode, generation },
      { customerId: replacement, generation: next },
    );
    return (await this.require(accountId)).customerId;
  }

  private find(accountId: string): Promise<StripeCustomerEntity | null> {
    return this.customers.findOneBy({ accountId, livemode: this.gateway.livemode });
  }

  private require(accountId: string): Promise<StripeCustomerEntity> {
    return this.customers.findOneByOrFail({ accountId, livemode: this.gateway.livemode });
  }

  private async insert(accountId: string, customerId: string): Promise<void> {
    const createdAt = new Date(this.clock.nowMs());
    const { livemode } = this.gateway;
    const row = { accountId, livemode, customerId, generation: 1, createdAt };
    await this.customers.createQueryBuilder().insert().values(row).orIgnore().execute();
  }
}
