import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Repository } from 'typeorm';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { isStripeId } from '../../platform/common/ids.js';
import { PAGE_LIMIT_MAX, type Page } from '../../platform/common/pagination.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import {
  OFF_SESSION_PAYMENTS,
  type OffSessionPayments,
  type PaymentIntent,
  type ProviderCard,
} from '../stripe/off-session-payments.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { SAVED_CARD_WORDS, type TopUp } from '../top-ups/top-up.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import type { SavedCard } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCardEntity } from './saved-card.entity.js';

/** The cards that Stripe stores for us. Their rows are updated from Stripe's API only, never from an event's copy. */
@Injectable()
export class SavedCardsService {
  private readonly logger = new Logger(SavedCardsService.name);

  constructor(
    @InjectRepository(SavedCardEntity) private readonly rows: Repository<SavedCardEntity>,
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    private readonly repository: AutoTopUpRepository,
    private readonly switches: AutoTopUpSwitchService,
  ) {}

  /**
   * Stores the card of a payment page on which the customer agreed to that. Auto top-up, if it is on, charges this card
   * from then on, because it is the customer's latest choice. Safe to repeat. Throws what the gateway and the database
   * throw.
   */
  async store(topUp: TopUp, intent: PaymentIntent): Promise<void> {
    if (!topUp.saveCard || intent.status !== 'succeeded' || intent.paymentMethodId === null) return;
    if (topUp.status === 'needs_review') return;
    // The credit has to be posted first, because the check of the wallet that follows must see it.
    if (topUp.status !== 'paid') throw new Error(`the payment of ${topUp.id} has not settled yet`);
    const card = await this.payments.retrieveCard(intent.paymentMethodId);
    if (card?.customerId !== topUp.customerId || card.livemode !== topUp.livemode) {
      this.logger.warn(
        { event: 'saved_card.missing', topUp: topUp.id, paymentIntent: intent.id },
        'The payment left no card that can be charged later',
      );
      return;
    }
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, topUp.accountId, topUp.livemode);
      const isNew = await this.upsert(tx, topUp, card);
      if (current === null) return;
      const isRequestedPayment = current.actionTopUpId === topUp.id;
      if (isRequestedPayment || (isNew && (await this.isLatest(tx, topUp, current.cardId)))) {
        await this.switches.resume(tx, current, card.id);
      }
    });
  }

  /** The cards that can be charged, newest first. */
  async list(accountId: string): Promise<Page<SavedCard>> {
    const cards = await this.rows.find({
      where: { accountId, livemode: this.gateway.livemode, detachedAt: IsNull() },
      order: { consentedAt: 'DESC', id: 'DESC' },
      take: PAGE_LIMIT_MAX + 1,
    });
    return { data: cards.slice(0, PAGE_LIMIT_MAX), hasMore: cards.length > PAGE_LIMIT_MAX };
  }

  /**
   * Has Stripe delete a card of the account. Stripe is asked before the row is changed: if this process ends in between,
   * Stripe's event updates the row. Safe to repeat. Throws `ResourceMissingError`, and what the gateway throws.
   */
  async remove(accountId: string, id: string, by: AuditActor): Promise<void> {
    const { livemode } = this.gateway;
    const card = isStripeId(id) ? await this.rows.findOneBy({ accountId, id, livemode }) : null;
    if (card === null) throw new ResourceMissingError('saved card', id);
    await this.payments.detachCard(id);
    // Stripe's event may have updated the row already, but only this call knows who removed the card.
    await this.refresh(id, card.detachedAt === null ? by : null);
  }

  /**
   * Reads a card from Stripe again, because its bank may have renewed it, or it may have been removed.
   *
   * @param by who removed it; null when no caller of ours did.
   */
  async refresh(cardId: string, by: AuditActor | null = null): Promise<void> {
    if (!(await this.rows.existsBy({ id: cardId }))) return;
    const found = await this.payments.retrieveCard(cardId);
    for (const card of await this.rows.findBy({ id: cardId, livemode: this.gateway.livemode })) {
      await this.update(card, found, by);
    }
  }

  /** Reads all cards of a customer again, after Stripe deleted that customer. */
  async refreshAllOfCustomer(customerId: string): Promise<void> {
    for (const { id } of await this.rows.findBy({ customerId, detachedAt: IsNull() })) await this.refresh(id);
  }

  private async update(card: SavedCard, found: ProviderCard | null, by: AuditActor | null): Promise<void> {
    const { accountId, id, livemode } = card;
    if (found?.customerId === card.customerId) {
      const { brand, last4, expMonth, expYear } = found;
      await this.rows.update({ accountId, id }, { brand, last4, expMonth, expYear, detachedAt: null });
      return;
    }
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, livemode);
      const attached = { accountId, id, detachedAt: IsNull() };
      await tx.update(SavedCardEntity, attached, { detachedAt: this.now() });
      if (by !== null) {
        await this.audit.record(tx, by, { act: 'saved_card.removed', object: id, account: accountId });
      }
      if (current?.cardId === id) await this.switches.turnOff(tx, current, 'card_removed');
    }, by ?? 'system');
  }

  /** Returns false when the card was saved before; then only its details are updated. */
  private async upsert(tx: Tx, topUp: TopUp, found: ProviderCard): Promise<boolean> {
    const { accountId, livemode } = topUp;
    const { id, brand, last4, expMonth, expYear } = found;
    const card: SavedCard = {
      accountId,
      id,
      livemode,
      customerId: topUp.customerId ?? '',
      brand,
      last4,
      expMonth,
      expYear,
      topUpId: topUp.id,
      consentVersion: SAVED_CARD_WORDS.version,
      consentAddress: topUp.clientAddress,
      consentedBy: topUp.createdBy,
      consentedAt: topUp.createdAt,
      detachedAt: null,
    };
    const insert = tx
      .createQueryBuilder()
      .insert()
      .into(SavedCardEntity)
      .values({ ...card })
      .orIgnore();
    const inserted = await insert.returning('id').execute();
    if ((inserted.raw as readonly unknown[]).length > 0) return true;
    await tx.update(
      SavedCardEntity,
      { accountId, id },
      { brand, last4, expMonth, expYear, detachedAt: null },
    );
    return false;
  }

  /** Whether this card was agreed to after the current one. The event of an older payment may arrive last. */
  private async isLatest(tx: Tx, topUp: TopUp, currentCardId: string): Promise<boolean> {
    const { accountId } = topUp;
    const current = await tx.findOneBy(SavedCardEntity, { accountId, id: currentCardId });
    return current === null || current.detachedAt !== null || current.consentedAt <= topUp.createdAt;
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
