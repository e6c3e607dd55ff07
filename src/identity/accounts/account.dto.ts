import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { NameField, ObjectTypeView, TimeView } from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import type { Account } from './accounts.service.js';

export const ACCOUNTS_URL = '/v1/accounts';

export class CreateAccountRequest {
  @NameField({ description: 'How people call this customer.', example: 'Acme Studio' })
  declare readonly name: string;
}

export class AccountView {
  @ApiProperty({ description: 'Id of the account.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ObjectTypeView('account')
  declare readonly object: 'account';
  @ApiProperty({ description: 'How people call this customer.', example: 'Acme Studio' })
  declare readonly name: string;
  @TimeView('When it was created, Unix seconds.')
  declare readonly created: number;
}

export class AccountListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [AccountView] })
  declare readonly data: readonly AccountView[];
}

export function toAccountView({ id, name, createdAt }: Account): AccountView {
  return { id, object: 'account', name, created: toUnixSeconds(createdAt) };
}

export function toAccountList(page: Page<Account>): AccountListView {
  return { object: 'list', url: ACCOUNTS_URL, has_more: page.hasMore, data: page.data.map(toAccountView) };
}
