import { Inject, Injectable } from '@nestjs/common';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { actorName, type AuditActor, type AuditDetails } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import { InsufficientScopeError } from '../../identity/auth/auth.errors.js';
import { formatMicros } from '../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { DatabaseClock } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../stripe/payment-gateway.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { WalletThresholdsService } from '../../money/wallets/wallet-thresholds.service.js';
import { quoteTopUp } from '../top-ups/quote.js';
import { AmountOutOfRangeError } from '../top-ups/top-up.errors.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { AutoTopUpAccountsService } from './auto-top-up-accounts.service.js';
import { AutoTopUpUntaxedError, SavedCardMissingError } from './auto-top-up.errors.js';
import { AutoTopUpSwitchService } from './auto-top-up-switch.service.js';
import {
  AUTO_TOP_UP_WORDS,
  type AutoTopUp,
  type AutoTopUpConsent,
  type AutoTopUpTerms,
  type SavedCard,
} from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';
import { allowsMore, findHoldBack, type AutoTopUpUsage, type HoldBack } from './auto-top-up.rules.js';

/** Who changes the settings. All of this is recorded with an opt-in. */
export type SettingsRequester = {
  readonly accountId: string;
  readonly by: AuditActor;
  readonly clientAddress: string;
  /** Whether the key has the scope `cards:charge`. */
  readonly mayChargeCards: boolean;
};

export type OptIn = AutoTopUpTerms & {
  /** The version of the text that was agreed to. */
  readonly wordsVersion: string;
};

/** Everything that the API shows of auto top-up. */
export type AutoTopUpState = {
  /** Null when it was never switched on. */
  readonly current: AutoTopUp | null;
  /** Why nothing is charged although it is on; null otherwise. */
  readonly heldBackBy: HoldBack | null;
  /** The card that is charged, or that would be charged if it were switched on. */
  readonly card: SavedCard | null;
  readonly consent: AutoTopUpConsent | null;
  readonly usage: AutoTopUpUsage | null;
  /** What one charge takes from the card, as of now; null when the amount is not sold. */
  readonly chargeCents: bigint | null;
  readonly inFlight: TopUp | null;
  /** The payment page for what could not be charged. */
  readonly actionPage: TopUp | null;
  readonly lastFailure: TopUp | null;
  readonly livemode: boolean;
};

/** Reads the settings of auto top-up, and changes them with the account's consent. */
@Injectable()
export class AutoTopUpSettingsService {
  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly clock: DatabaseClock,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly accounts: AccountsService,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    private readonly repository: AutoTopUpRepository,
    private readonly topUps: TopUpRepository,
    private readonly switches: AutoTopUpSwitchService,
    private readonly thresholds: WalletThresholdsService,
    private readonly states: AutoTopUpAccountsService,
  ) {}

  /** Throws `ResourceMissingError` for an unknown account. */
  async readFor(accountId: string): Promise<AutoTopUpState> {
    await this.accounts.require(accountId);
    return this.read(accountId);
  }

  async read(accountId: string): Promise<AutoTopUpState> {
    const { livemode } = this.gateway;
    const current = await this.repository.find(accountId, livemode);
    const page = current?.actionTopUpId ?? null;
    return {
      livemode,
      current,
      heldBackBy: current?.status === 'on' ? findHoldBack(await this.states.read(accountId)) : null,
      card: await this.findCard(accountId, current),
      consent: await this.repository.lastConsent(accountId, livemode),
      usage: current === null ? null : await this.repository.usage(null, current, await this.clock.nowMs()),
      chargeCents: current === null ? null : (this.quote(current)?.chargeCents ?? null),
      inFlight: await this.repository.openCharge(accountId, livemode),
      actionPage: page === null ? null : await this.topUps.find(accountId, page),
      lastFailure: await this.repository.lastFailure(accountId, livemode),
    };
  }

  /**
   * Switches it on with these terms, or changes them. Charges whose request was not sent are withdrawn and the wallet is
   * checked at once. Where more may be charged than before, the account is notified. Throws
   * `InsufficientScopeError`, `InvalidRequestError`, `AutoTopUpUntaxedError`, `AmountOutOfRangeError` or
   * `SavedCardMissingError`.
   */
  async switchOn(requester: SettingsRequester, { wordsVersion, ...terms }: OptIn): Promise<void> {
    if (!requester.mayChargeCards) {
      throw new InsufficientScopeError(
        'cards:charge',
        'Charging a saved card needs it. Nothing was changed.',
      );
    }
    if (wordsVersion !== AUTO_TOP_UP_WORDS.version) {
      throw new InvalidRequestError(
        `The text to agree to has version ${AUTO_TOP_UP_WORDS.version} now. Nothing was changed. Show that text and send its version.`,
        'words_version',
      );
    }
    if (this.settings.stripeTax) throw new AutoTopUpUntaxedError();
    this.assertPossible(terms);
    const { accountId } = requester;
    const { livemode } = this.gateway;
    const card = await this.repository.newestCard(accountId, livemode);
    if (card === null) throw new SavedCardMissingError();
    await this.transactions.run(async (tx) => {
      const current = await this.lockOrInsert(tx, accountId, terms, card.id);
      const now = new Date(await this.clock.nowMs(tx));
      const revision = current.revision + 1;
      await this.repository.update(tx, current, {
        ...terms,
        revision,
        status: 'on',
        offReason: null,
        cardId: card.id,
        failedTopUpId: null,
        actionTopUpId: null,
        switchedOnAt: now,
        updatedAt: now,
      });
      await this.repository.recordConsent(tx, {
        ...terms,
        accountId,
        livemode,
        revision,
        version: wordsVersion,
        agreedBy: actorName(requester.by),
        clientAddress: requester.clientAddress,
        agreedAt: now,
        cardId: card.id,
      });
      await this.withdraw(tx, accountId);
      await this.switches.recheck(tx, accountId);
      if (allowsMore(current, { ...terms, cardId: card.id })) {
        const chargeCents = this.quote(terms)?.chargeCents ?? null;
        await this.switches.reportRaise(tx, {
          before: current,
          terms,
          revision,
          card,
          chargeCents,
          actor: actorName(requester.by),
        });
      }
      await this.audit.record(tx, requester.by, {
        act: 'auto_top_up.changed',
        object: accountId,
        account: accountId,
        before: current.revision === 0 ? null : toDetails(current),
        after: toDetails({ ...terms, status: 'on', cardId: card.id }),
      });
      await this.thresholds.setTopUpThreshold(tx, accountId, terms.thresholdMicros);
    }, requester.by);
  }

  /** Charges whose request was not sent are withdrawn in the same tx, so that off takes effect at once. */
  async switchOff({ accountId, by }: SettingsRequester): Promise<void> {
    await this.transactions.run(async (tx) => {
      const current = await this.repository.lock(tx, accountId, this.gateway.livemode);
      if (current === null) return;
      await this.withdraw(tx, accountId);
      if (current.status === 'on') {
        const entry = { act: 'auto_top_up.switched_off', object: accountId, account: accountId } as const;
        await this.audit.record(tx, by, entry);
      }
      await this.switches.turnOff(tx, current, 'switched_off');
    }, by);
  }

  /** Locks the row. An account that never had one gets a row that is off. */
  private async lockOrInsert(
    tx: Tx,
    accountId: string,
    terms: AutoTopUpTerms,
    cardId: string,
  ): Promise<AutoTopUp> {
    const { livemode } = this.gateway;
    const existing = await this.repository.lock(tx, accountId, livemode);
    if (existing !== null) return existing;
    const now = new Date(await this.clock.nowMs(tx));
    await this.repository.insert(tx, {
      ...terms,
      accountId,
      livemode,
      status: 'off',
      offReason: 'never_enabled',
      revision: 0,
      cardId,
      switchedOnAt: now,
      updatedAt: now,
      failedTopUpId: null,
      actionTopUpId: null,
    });
    const inserted = await this.repository.lock(tx, accountId, livemode);
    if (inserted === null) throw new Error(`the settings of ${accountId} were not stored`);
    return inserted;
  }

  private async withdraw(tx: Tx, accountId: string): Promise<void> {
    for (const topUp of await this.repository.notDispatched(tx, accountId, this.gateway.livemode)) {
      await this.topUps.move(topUp, 'failed', { failureCode: 'withdrawn' }, tx);
    }
  }

  private assertPossible(terms: AutoTopUpTerms): void {
    const quote = this.quote(terms);
    if (quote === null) throw new AmountOutOfRangeError(this.settings.topUp);
    const tooLow = (param: string): Error =>
      new InvalidRequestError(
        `One charge takes ${quote.chargeCents} cents from the card, more than ${param} allows. Nothing was changed.`,
        param,
      );
    if (quote.chargeCents > terms.dailyMaxCents) throw tooLow('daily_max_charge_cents');
    if (quote.chargeCents > terms.monthlyMaxCents) throw tooLow('monthly_max_charge_cents');
  }

  private quote({ amountCents }: AutoTopUpTerms) {
    return quoteTopUp(amountCents, this.settings.topUp);
  }

  private findCard(accountId: string, current: AutoTopUp | null): Promise<SavedCard | null> {
    return current === null
      ? this.repository.newestCard(accountId, this.gateway.livemode)
      : this.repository.card(accountId, current.cardId);
  }
}

function toDetails(settings: AutoTopUpTerms & Pick<AutoTopUp, 'status' | 'cardId'>): AuditDetails {
  return {
    status: settings.status,
    card: settings.cardId,
    threshold_micros: formatMicros(settings.thresholdMicros),
    amount_cents: settings.amountCents.toString(),
    daily_max_count: settings.dailyMaxCount,
    daily_max_charge_cents: settings.dailyMaxCents.toString(),
    monthly_max_count: settings.monthlyMaxCount,
    monthly_max_charge_cents: settings.monthlyMaxCents.toString(),
    cooldown_seconds: settings.cooldownSeconds,
  };
}
