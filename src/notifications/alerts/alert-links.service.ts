import { hash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { MoreThan, Repository } from 'typeorm';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { LinkTokens } from './link-tokens.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';

/** Long enough for a weekend, and short enough that an old mail cannot confirm an address months later. */
export const CONFIRM_TTL_MS = 3 * DAY_MS;

/** Creates the links in mails, and handles the requests that follow them. */
@Injectable()
export class AlertLinksService {
  constructor(
    @InjectRepository(WalletAlertsEntity) private readonly rows: Repository<WalletAlertsEntity>,
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly tokens: LinkTokens,
  ) {}

  confirm(accountId: string, emailId: string): { readonly url: string; readonly token: string } {
    const token = this.tokens.make('confirm', accountId, emailId);
    return { url: this.toUrl('confirm', accountId, token), token };
  }

  unsubscribe(accountId: string, address: string): string {
    return this.toUrl('unsubscribe', accountId, this.tokens.make('unsubscribe', accountId, address));
  }

  /** Returns true when the address is confirmed, also by a repeated click. Returns false for a link that is wrong or too old. */
  async followConfirm(accountId: string, token: string): Promise<boolean> {
    if (!isWellFormed(accountId, token)) return false;
    const now = new Date(this.clock.nowMs());
    const confirmHash = Buffer.from(hash('sha256', token, 'hex'), 'hex');
    const { affected } = await this.rows.update(
      { accountId, confirmHash, confirmExpiresAt: MoreThan(now) },
      { emailConfirmedAt: () => `coalesce(email_confirmed_at, '${now.toISOString()}')` },
    );
    return affected === 1;
  }

  /** Returns true when the address gets no more mails, also when it got none before. Returns false for a link of another address. */
  async followUnsubscribe(accountId: string, token: string): Promise<boolean> {
    if (!isWellFormed(accountId, token)) return false;
    const alerts = await this.rows.findOneBy({ accountId });
    if (alerts === null || alerts.email === null) return true;
    const { email } = alerts;
    if (!this.tokens.isGenuine(token, 'unsubscribe', accountId, email)) return false;
    await this.rows.update(
      { accountId, email },
      { email: null, emailConfirmedAt: null, confirmHash: null, confirmExpiresAt: null },
    );
    return true;
  }

  private toUrl(page: 'confirm' | 'unsubscribe', account: string, token: string): string {
    const { publicUrl, port } = this.settings;
    const base = (publicUrl?.href ?? `http://127.0.0.1:${port}`).replace(/\/+$/, '');
    return `${base}/alerts/${page}?${new URLSearchParams({ account, token }).toString()}`;
  }
}

/** Whether both have the form of our links, so that the database is not asked for anything else. */
function isWellFormed(accountId: string, token: string): boolean {
  return isId('account', accountId) && /^[\w-]{43}$/.test(token);
}
