import { hash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { MoreThan, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import { DAY_MS } from '../../platform/common/utc-time.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { LinkTokens } from './link-tokens.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';

/** Long enough for a weekend, short enough that a forgotten mailbox confirms nothing months later. */
export const CONFIRM_TTL_MS = 3 * DAY_MS;

/** The links that mails carry: made for the mails, and followed by whoever reads them. */
@Injectable()
export class AlertLinks {
  constructor(
    @InjectRepository(WalletAlertsEntity) private readonly rows: Repository<WalletAlertsEntity>,
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly tokens: LinkTokens,
  ) {}

  confirm(accountId: string, emailId: string): { readonly url: string; readonly token: string } {
    const token = this.tokens.make('confirm', accountId, emailId);
    return { url: this.urlOf('confirm', accountId, token), token };
  }

  unsubscribe(accountId: string, address: string): string {
    return this.urlOf('unsubscribe', accountId, this.tokens.make('unsubscribe', accountId, address));
  }

  /** True when the address wants alerts now; a second click says so again. False for a link that is wrong or too old. */
  async followConfirm(accountId: string, token: string): Promise<boolean> {
    if (!isLink(accountId, token)) return false;
    const now = new Date(this.clock.nowMs());
    const confirmHash = Buffer.from(hash('sha256', token, 'hex'), 'hex');
    const { affected } = await this.rows.update(
      { accountId, confirmHash, confirmExpiresAt: MoreThan(now) },
      { emailConfirmedAt: () => `coalesce(email_confirmed_at, '${now.toISOString()}')` },
    );
    return affected === 1;
  }

  /** True when nothing more goes there, also when that was so before. False for a link of another address. */
  async followUnsubscribe(accountId: string, token: string): Promise<boolean> {
    if (!isLink(accountId, token)) return false;
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

  private urlOf(page: 'confirm' | 'unsubscribe', account: string, token: string): string {
    const { publicUrl, port } = this.settings;
    const base = (publicUrl?.href ?? `http://127.0.0.1:${port}`).replace(/\/+$/, '');
    return `${base}/alerts/${page}?${new URLSearchParams({ account, token }).toString()}`;
  }
}

/** What could be ours: anything else need not reach the database. */
function isLink(accountId: string, token: string): boolean {
  return isId('account', accountId) && /^[\w-]{43}$/.test(token);
}
