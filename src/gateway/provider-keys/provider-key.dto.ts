import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { BooleanField, ObjectTypeView, TextField, TimeView } from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import { KEYED_PROVIDERS, type ProviderKey } from './provider-key.js';
import type { NewProviderKey } from './provider-keys.service.js';

/** The last four characters are shown, so a key has to be much longer. */
const SECRET_CHARS_MIN = 16;
const SECRET_CHARS_MAX = 500;
/** The characters that a header can contain unchanged. White space around a copied key is a mistake. */
const SECRET_PATTERN = /^[\x21-\x7e]+$/;

export class AttachProviderKeyRequest {
  @TextField({
    description: "The account's own key at the provider. It is stored encrypted and never shown again.",
    min: SECRET_CHARS_MIN,
    max: SECRET_CHARS_MAX,
    pattern: SECRET_PATTERN,
    example: 'bfl_0123456789abcdef',
  })
  declare readonly key: string;

  @BooleanField({
    description:
      'True: when the provider refuses a call because of this key (rejected, or out of credit), the call is made with our own ' +
      'account instead and paid from the wallet. False, the default: the call fails and costs nothing.',
    optional: true,
    example: false,
  })
  declare readonly fall_back_to_wallet?: boolean | null;
}

class ProviderKeyFacts {
  @ObjectTypeView('provider_key')
  declare readonly object: 'provider_key';
  @ApiProperty({ description: 'Id of the key; not a secret.', example: 'pk_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({ description: 'The provider that the key belongs to.', enum: KEYED_PROVIDERS })
  declare readonly provider: string;
  @ApiProperty({ description: 'The last four characters of the key.', example: 'x7Qb' })
  declare readonly last_four: string;
  @ApiProperty({ description: 'Whether the wallet may pay for calls when the provider refuses the key.' })
  declare readonly fall_back_to_wallet: boolean;
  @TimeView('When it was attached, Unix seconds.')
  declare readonly created: number;
  @ApiProperty({
    description: 'Who attached it.',
    example: 'account_key:key_01KB2H7Q0000000000000000AA',
  })
  declare readonly attached_by: string;
}

export class ProviderKeyView extends ProviderKeyFacts {}

export class DeletedProviderKeyView {
  @ApiProperty({ description: 'Id of the key.', example: 'pk_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ObjectTypeView('provider_key')
  declare readonly object: 'provider_key';
  @ApiProperty({ description: 'The provider that the key belonged to.', enum: KEYED_PROVIDERS })
  declare readonly provider: string;
  @ApiProperty({ description: 'The key is removed; no new call uses it.', enum: [true] })
  declare readonly deleted: true;
}

export class ProviderKeyRecordView extends ProviderKeyFacts {
  @ApiProperty({
    description: 'The account that the key belongs to.',
    example: 'acct_01KB2H7Q0000000000000000AA',
  })
  declare readonly account: string;
  @ApiProperty({
    description: 'When it was removed, Unix seconds; null while it is in use.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly removed_at: number | null;
  @ApiProperty({ description: 'Who removed it.', type: 'string', nullable: true, example: null })
  declare readonly removed_by: string | null;
  @ApiProperty({
    description: 'Why it was removed.',
    type: 'string',
    enum: ['deleted', 'replaced', null],
    nullable: true,
    example: null,
  })
  declare readonly removed_reason: string | null;
  @ApiProperty({
    description: 'The id of the master key with which it is encrypted; null once it is erased.',
    type: 'string',
    nullable: true,
    example: '2026-11',
  })
  declare readonly master_key: string | null;
}

export class ProviderKeyListView extends ListView {
  @ApiProperty({
    description: 'At most one key for each provider, newest first.',
    type: () => [ProviderKeyView],
  })
  declare readonly data: readonly ProviderKeyView[];
}

export class ProviderKeyRecordListView extends ListView {
  @ApiProperty({
    description: 'All keys including removed ones, newest first.',
    type: () => [ProviderKeyRecordView],
  })
  declare readonly data: readonly ProviderKeyRecordView[];
}

export function toNewProviderKey(body: AttachProviderKeyRequest): NewProviderKey {
  return { secret: body.key, fallBackToWallet: body.fall_back_to_wallet === true };
}

export function toProviderKeyView(key: ProviderKey): ProviderKeyView {
  return {
    object: 'provider_key',
    id: key.id,
    provider: key.provider,
    last_four: key.lastFour,
    fall_back_to_wallet: key.fallBackToWallet,
    created: toUnixSeconds(key.createdAt),
    attached_by: key.attachedBy,
  };
}

export function toProviderKeyList(keys: readonly ProviderKey[]): ProviderKeyListView {
  return { object: 'list', url: '/v1/provider_keys', has_more: false, data: keys.map(toProviderKeyView) };
}

export function toDeletedProviderKeyView({ id, provider }: ProviderKey): DeletedProviderKeyView {
  return { id, object: 'provider_key', provider, deleted: true };
}

export function toProviderKeyRecordList(url: string, page: Page<ProviderKey>): ProviderKeyRecordListView {
  return { object: 'list', url, has_more: page.hasMore, data: page.data.map(toRecordView) };
}

function toRecordView(key: ProviderKey): ProviderKeyRecordView {
  return {
    ...toProviderKeyView(key),
    account: key.accountId,
    removed_at: key.removedAt && toUnixSeconds(key.removedAt),
    removed_by: key.removedBy,
    removed_reason: key.removedReason,
    master_key: key.masterKeyId,
  };
}
