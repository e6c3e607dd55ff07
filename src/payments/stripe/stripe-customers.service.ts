import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { PAYMENT_GATEWAY, type Payer, type PaymentGateway } from './payment-gateway.js';
import { StripeCustomerEntity } from './stripe-customer.entity.js';

/** Keeps one Stripe customer for each account and mode. Cards, invoices and receipts belong to it. */
@Injectable()
export class StripeCustomersService {
  constructor(
    @InjectRepository(StripeCustomerEntity) private readonly customers: Repository<StripeCustomerEntity>,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Returns the account's customer id, and creates the customer when there is none. Throws what the gateway throws. */
  async ensure(payer: Payer): Promise<string> {
    const { accountId } = payer;
    const known = await this.find(accountId);
    if (known !== null) return known.customerId;
    // Stripe refuses a key that is used again with other parameters, so this key differs from the one used before names were sent.
    await this.insert(accountId, await this.gateway.createCustomer(payer, `customer:${accountId}`));
    // When two processes race, there is one row and one customer at Stripe, because both sent the same key.
    return (await this.require(accountId)).customerId;
  }

  /** Creates a new customer for one that Stripe lost. Does nothing when another process replaced it before. */
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
