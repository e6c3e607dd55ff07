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
import type { TopUp } from '../top-ups/top-up.js';
import { AutoTopUpSwitch } from './auto-top-up-switch.service.js';
import { SAVED_CARD_WORDS, type SavedCard } from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { SavedCardEntity } from './saved-card.entity.js';

/** The cards that Stripe keeps for us: what we know of them follows Stripe's word, never an event's copy. */
@Injectable()
export class SavedCards {
  private readonly logger = new Logger(SavedCards.name);

  constructor(
    @InjectRepository(SavedCardEntity) private readonly rows: Repository<SavedCardEntity>,
    @Inject(OFF_SESSION_PAYMENTS) private readonly payments: OffSessionPayments,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    private readonly repository: AutoTopUpRepository,
    private readonly switches: AutoTopUpSwitch,
  ) {}

  /**
   * Keeps the card of a payment page on which the customer agreed to it. From then on auto top-up, if it is on, charges
   * this one: it is the customer's latest word. Safe to repeat. Throws what the gateway and the database throw.
   */
  async remember(topUp: TopUp, intent: PaymentIntent): Promise<void> {
    if (!topUp.saveCard || intent.status !== 'succeeded' || intent.paymentMethodId === null) return;
    if (topUp.status === 'needs_review') return;
    // First the credit: the look at the wallet that follows must see it.
    if (topUp.status !== 'paid') throw new Error(`the payment of ${topUp.id} has not settled yet`);
    const told = await this.payments.retrieveCard(intent.paymentMethodId);
    if (told?.customerId !== topUp.customerId || told.livemode !== topUp.livemode) {
      this.logger.warn(`${intent.id} of ${topUp.id} left no card to charge later.`);
      return;
    }
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, topUp.accountId, topUp.livemode);
      const isNew = await this.store(tx, topUp, told);
      if (current === null) return;
      const isAnswer = current.actionTopUpId === topUp.id;
      if (isAnswer || (isNew && (await this.isLatest(tx, topUp, current.cardId)))) {
        await this.switches.resume(tx, current, told.id);
      }
    });
  }

  /** Those that can be charged; newest first. */
  async list(accountId: string): Promise<Page<SavedCard>> {
    const cards = await this.rows.find({
      where: { accountId, livemode: this.gateway.livemode, detachedAt: IsNull() },
      order: { consentedAt: 'DESC', id: 'DESC' },
      take: PAGE_LIMIT_MAX + 1,
    });
    return { data: cards.slice(0, PAGE_LIMIT_MAX), hasMore: cards.length > PAGE_LIMIT_MAX };
  }

  /**
   * Has Stripe forget a card of the account. Stripe first: what we note follows its word, and should this end in between,
   * its own event brings the news. Safe to repeat. Throws `ResourceMissingError`, and what the gateway throws.
   */
  async remove(accountId: string, id: string, by: AuditActor): Promise<void> {
    const { livemode } = this.gateway;
    const card = isStripeId(id) ? await this.rows.findOneBy({ accountId, id, livemode }) : null;
    if (card === null) throw new ResourceMissingError('saved card', id);
    await this.payments.detachCard(id);
    // Stripe's own event may have been faster than we are; who had it removed is known here alone.
    await this.refresh(id, card.detachedAt === null ? by : null);
  }

  /**
   * Reads a card again: it may have been renewed by its bank, or removed.
   *
   * @param by who had it removed; null: nobody here.
   */
  async refresh(cardId: string, by: AuditActor | null = null): Promise<void> {
    if (!(await this.rows.existsBy({ id: cardId }))) return;
    const told = await this.payments.retrieveCard(cardId);
    for (const card of await this.rows.findBy({ id: cardId, livemode: this.gateway.livemode })) {
      await this.follow(card, told, by);
    }
  }

  /** All cards of a customer that Stripe deleted. */
  async refreshOf(customerId: string): Promise<void> {
    for (const { id } of await this.rows.findBy({ customerId, detachedAt: IsNull() })) await this.refresh(id);
  }

  private async follow(card: SavedCard, told: ProviderCard | null, by: AuditActor | null): Promise<void> {
    const { accountId, id, livemode } = card;
    if (told?.customerId === card.customerId) {
      const { brand, last4, expMonth, expYear } = told;
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

  /** False when the card was saved before; then its details are brought up to date. */
  private async store(tx: Tx, topUp: TopUp, told: ProviderCard): Promise<boolean> {
    const { accountId, livemode } = topUp;
    const { id, brand, last4, expMonth, expYear } = told;
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

  /** News of an older payment may come last. */
  private async isLatest(tx: Tx, topUp: TopUp, currentCardId: string): Promise<boolean> {
    const { accountId } = topUp;
    const current = await tx.findOneBy(SavedCardEntity, { accountId, id: currentCardId });
    return current === null || current.detachedAt !== null || current.consentedAt <= topUp.createdAt;
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
