import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Not, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId, newId, PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import type { AuditActor } from '../audit-log/audit-event.js';
import { AuditLog } from '../audit-log/audit-log.service.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { AccountEntity } from './account.entity.js';

/** A customer. */
export type Account = {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
};

@Injectable()
export class AccountsService {
  constructor(
    @InjectRepository(AccountEntity) private readonly accounts: Repository<AccountEntity>,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async create(name: string, by: AuditActor): Promise<Account> {
    const account: Account = { id: newId('account'), name, createdAt: new Date(this.clock.nowMs()) };
    await this.transactions.run(async (tx) => {
      await tx.insert(AccountEntity, { ...account });
      await this.audit.record(tx, by, {
        act: 'account.created',
        object: account.id,
        account: account.id,
        after: { name },
      });
    }, by);
    return account;
  }

  /** Lists the newest first. Throws `InvalidRequestError` for a cursor that is no account's id. */
  async list(page: PageRequest): Promise<Page<Account>> {
    return findPage(this.accounts, 'account', { id: Not(PLATFORM_ACCOUNT_ID) }, page);
  }

  /**
   * Returns the customer with this id. Throws `ResourceMissingError` when there is none; the platform's own book
   * (`acct_platform`) is no customer.
   *
   * @param param the request field that named the account, as the client wrote it.
   */
  async require(id: string, param = 'id'): Promise<Account> {
    // Only ids that `newId` could have made reach the database; `acct_platform` is not of that form.
    const account = isId('account', id) ? await this.accounts.findOneBy({ id }) : null;
    if (account === null) throw new ResourceMissingError('account', id, param);
    return account;
  }
}
