import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../../platform/common/clock.js';
import { IntegerField, NameField, ObjectTypeView } from '../../../platform/common/fields.js';
import { getLimitNumbers, type OwnLimits, type LimitNumbers } from '../rate-limit-policies.js';
import type { AccountLimitNumbers, AccountLimitsInForce } from './account-limits.service.js';

/** Far more than one gateway process serves in a minute; a larger number is a typing error. */
const PER_MINUTE_MAX = 1_000_000;
/** More connections than a process keeps open. */
const CONCURRENT_MAX = 10_000;

export class SetAccountLimitsRequest {
  @IntegerField({
    description:
      'Image calls a minute, of the account and of each of its keys; absent or null: as for everybody.',
    min: 1,
    max: PER_MINUTE_MAX,
    optional: true,
    example: 3_000,
  })
  declare readonly requests_per_minute?: number | null;

  @IntegerField({
    description: 'Images a minute, of the account and of each of its keys; absent or null: as for everybody.',
    min: 1,
    max: PER_MINUTE_MAX,
    optional: true,
    example: 6_000,
  })
  declare readonly images_per_minute?: number | null;

  @IntegerField({
    description:
      'Image calls at the same time, of the account and of each of its keys; absent or null: as for everybody.',
    min: 1,
    max: CONCURRENT_MAX,
    optional: true,
    example: 400,
  })
  declare readonly concurrent_requests?: number | null;

  @NameField({
    description: 'The reason for the change, for later readers.',
    example: 'Launch campaign until March',
  })
  declare readonly reason: string;
}

export class LimitNumbersView {
  @ApiProperty({ description: 'For one API key.', type: 'integer', example: 600 })
  declare readonly per_key: number;
  @ApiProperty({ description: 'For all keys of the account together.', type: 'integer', example: 1_200 })
  declare readonly per_account: number;
}

export class LimitsChangeView {
  @ApiProperty({ description: 'Counts the changes of the account from 1.', type: 'integer', example: 1 })
  declare readonly version: number;
  @ApiProperty({ description: 'Who did it.', example: 'operator_key:key_01KB2H7Q0000000000000000AA' })
  declare readonly set_by: string;
  @ApiProperty({ description: 'Why.', example: 'Launch campaign until March' })
  declare readonly reason: string;
  @ApiProperty({ description: 'When, Unix seconds.', type: 'integer', example: 1_795_329_561 })
  declare readonly created: number;
}

export class AccountLimitsView {
  @ObjectTypeView('account_limits')
  declare readonly object: 'account_limits';
  @ApiProperty({ description: 'The account.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'Image calls a minute.', type: () => LimitNumbersView })
  declare readonly requests_per_minute: LimitNumbersView;
  @ApiProperty({ description: 'Images a minute.', type: () => LimitNumbersView })
  declare readonly images_per_minute: LimitNumbersView;
  @ApiProperty({ description: 'Image calls at the same time.', type: () => LimitNumbersView })
  declare readonly concurrent_requests: LimitNumbersView;
  @ApiProperty({
    description: 'The change that made them so; null: they are those of every account.',
    type: () => LimitsChangeView,
    nullable: true,
  })
  declare readonly changed: LimitsChangeView | null;
}

export function toNumbers(body: SetAccountLimitsRequest): AccountLimitNumbers {
  return {
    requestsPerMinute: body.requests_per_minute ?? null,
    imagesPerMinute: body.images_per_minute ?? null,
    concurrentRequests: body.concurrent_requests ?? null,
  };
}

export function toAccountLimitsView(account: string, change: AccountLimitsInForce): AccountLimitsView {
  const own: OwnLimits = {
    ...(change?.requestsPerMinute == null ? {} : { image_calls: change.requestsPerMinute }),
    ...(change?.imagesPerMinute == null ? {} : { images: change.imagesPerMinute }),
    ...(change?.concurrentRequests == null ? {} : { concurrent_image_calls: change.concurrentRequests }),
  };
  return {
    object: 'account_limits',
    account,
    requests_per_minute: toNumbersView(getLimitNumbers('image_calls', own)),
    images_per_minute: toNumbersView(getLimitNumbers('images', own)),
    concurrent_requests: toNumbersView(getLimitNumbers('concurrent_image_calls', own)),
    changed: change && {
      version: change.version,
      set_by: change.setBy,
      reason: change.reason,
      created: toUnixSeconds(change.createdAt),
    },
  };
}

function toNumbersView({ perKey, perAccount }: LimitNumbers): LimitNumbersView {
  return { per_key: perKey, per_account: perAccount };
}
