import { ApiProperty } from '@nestjs/swagger';
import { ACCOUNT_SCOPES, type AccountScope, OPERATOR_SCOPES, type OperatorScope } from '../auth/principal.js';
import { toUnixSeconds } from '../../platform/common/clock.js';
import {
  IntegerField,
  NameField,
  ObjectField,
  ObjectTypeView,
  TimeView,
  WordField,
  WordSetField,
} from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import type { ApiKey, ApiKeyStatus, IssuedApiKey, KeyChanges, NewAccountKey, NewApiKey } from './api-key.js';
import {
  SpendLimitsRequest,
  SpendLimitsView,
  toLimitChanges,
  toSpendLimitsView,
} from './spend-limits.dto.js';

/** As long as the loss of an answer may take to notice; within it, the same prompt is rarely meant as a new picture. */
export const DUPLICATE_WINDOW_SECONDS_MAX = 30;

const DUPLICATE_WINDOW =
  'For clients that send a call again without saying so, such as the AI SDK: for so many seconds after an answer (and while ' +
  'the call runs) the same images request with this key gets that answer again, marked `idempotent-replayed`, and is charged ' +
  'once. 0 switches it off, which is the default: then each request is a call of its own. Requests with an ' +
  "`Idempotency-Key` and those of OpenAI's SDKs, which announce their retries, are not concerned.";

/** `duplicate_window_seconds`; absent or null leaves it unchanged. */
export function DuplicateWindowField(): PropertyDecorator {
  return IntegerField({
    description: DUPLICATE_WINDOW,
    min: 0,
    max: DUPLICATE_WINDOW_SECONDS_MAX,
    optional: true,
    example: 30,
  });
}

/** The year 3000, in Unix seconds: a larger value is almost certainly in milliseconds. */
const EXPIRY_MAX = 32_503_680_000;

class KeyRequest {
  @NameField({
    description: 'A name that distinguishes this key from others.',
    example: 'Production gateway',
  })
  declare readonly name: string;

  @IntegerField({
    description: 'Unix seconds from which the key is refused; absent or null never expires.',
    min: 1,
    max: EXPIRY_MAX,
    optional: true,
    example: 1_830_297_600,
  })
  declare readonly expires_at?: number | null;
}

export class CreateApiKeyRequest extends KeyRequest {
  @WordSetField({
    description: 'What the key may do. A key grants only scopes that it has itself.',
    words: ACCOUNT_SCOPES,
    example: ['generate', 'wallet:read'],
  })
  declare readonly scopes: AccountScope[];

  @ObjectField({
    description: 'What the key may spend, as hard as the wallet itself; none when absent or null.',
    type: SpendLimitsRequest,
    optional: true,
  })
  declare readonly spend_limits?: SpendLimitsRequest | null;

  @DuplicateWindowField()
  declare readonly duplicate_window_seconds?: number | null;
}

export class CreateOperatorKeyRequest extends KeyRequest {
  @WordSetField({
    description: 'What the key may do. A key grants only scopes that it has itself.',
    words: OPERATOR_SCOPES,
    example: ['debits'],
  })
  declare readonly scopes: OperatorScope[];
}

class KeyView {
  @ApiProperty({ description: 'Id of the key; not a secret.', example: 'key_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({
    description: 'A name that distinguishes this key from others.',
    example: 'Production gateway',
  })
  declare readonly name: string;
  @ApiProperty({ description: 'Its prefix and its last four characters.', example: 'sk-cof-…x7Qb' })
  declare readonly hint: string;
  @ApiProperty({ description: 'Only an active key is accepted.', enum: ['active', 'expired', 'revoked'] })
  declare readonly status: ApiKeyStatus;
  @TimeView('When it was made, Unix seconds.')
  declare readonly created: number;
  @ApiProperty({
    description:
      'Which key made it: an account key (`account_key:key_…`), an operator (`operator_key:…`), or the service (`system`). ' +
      'Null: it is older than this record.',
    type: 'string',
    nullable: true,
    example: 'account_key:key_01KB2H7Q0000000000000000AA',
  })
  declare readonly created_by: string | null;
  @ApiProperty({
    description:
      'When a request was last let in with it, to a minute or two, Unix seconds; null: it was not used.',
    type: 'integer',
    nullable: true,
    example: 1_795_329_600,
  })
  declare readonly last_used_at: number | null;
  @ApiProperty({
    description: 'Unix seconds from which it is refused; null never expires.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly expires_at: number | null;
  @ApiProperty({
    description: 'Unix seconds at which it was revoked; null was not.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly revoked_at: number | null;
}

export class ApiKeyView extends KeyView {
  @ObjectTypeView('api_key')
  declare readonly object: 'api_key';
  @ApiProperty({ description: 'The account it acts for.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({
    description: 'What it may do.',
    isArray: true,
    enum: ACCOUNT_SCOPES,
    example: ['generate', 'wallet:read'],
  })
  declare readonly scopes: readonly string[];
  @ApiProperty({
    description: 'What it may spend, and has used of it; null: as much as the wallet holds.',
    type: () => SpendLimitsView,
    nullable: true,
  })
  declare readonly spend_limits: SpendLimitsView | null;
  @ApiProperty({
    description:
      'For how many seconds the same request gets the first answer again; 0: each is a call of its own.',
    type: 'integer',
    example: 0,
  })
  declare readonly duplicate_window_seconds: number;
}

export class OperatorKeyView extends KeyView {
  @ObjectTypeView('operator_key')
  declare readonly object: 'operator_key';
  @ApiProperty({ description: 'What it may do.', isArray: true, enum: OPERATOR_SCOPES, example: ['debits'] })
  declare readonly scopes: readonly string[];
}

const SECRET = {
  description: 'The key itself. Shown this once: only its hash is kept.',
  example: 'sk-cof-… (56 characters)',
};

export class IssuedApiKeyView extends ApiKeyView {
  @ApiProperty(SECRET)
  declare readonly secret: string;
}

export class IssuedOperatorKeyView extends OperatorKeyView {
  @ApiProperty({ ...SECRET, example: 'op-cof-… (56 characters)' })
  declare readonly secret: string;
}

export class ApiKeyListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [ApiKeyView] })
  declare readonly data: readonly ApiKeyView[];
}

export class OperatorKeyListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [OperatorKeyView] })
  declare readonly data: readonly OperatorKeyView[];
}

export function toNewApiKey<Request extends CreateApiKeyRequest | CreateOperatorKeyRequest>({
  name,
  scopes,
  expires_at: expiresAt,
}: Request): NewApiKey & Pick<Request, 'scopes'> {
  return { name, scopes, expiresAt: expiresAt == null ? null : new Date(expiresAt * 1_000) };
}

export function toNewAccountKey(body: CreateApiKeyRequest): NewAccountKey {
  return { ...toNewApiKey(body), ...toKeyChanges(body) };
}

/** Throws for an operator key, which a customer's route must never return. */
export function toApiKeyView(key: ApiKey): ApiKeyView {
  if (key.accountId === null) throw new Error(`${key.id} is no account's key`);
  const { accountId: account, scopes, budget, duplicateWindowSeconds } = key;
  return {
    ...toKeyView(key),
    object: 'api_key',
    account,
    scopes,
    spend_limits: toSpendLimitsView(budget),
    duplicate_window_seconds: duplicateWindowSeconds,
  };
}

export function toIssuedApiKeyView(key: IssuedApiKey): IssuedApiKeyView {
  return { ...toApiKeyView(key), secret: key.secret };
}

export function toApiKeyList(url: string, page: Page<ApiKey>): ApiKeyListView {
  return { object: 'list', url, has_more: page.hasMore, data: page.data.map(toApiKeyView) };
}

export function toOperatorKeyView(key: ApiKey): OperatorKeyView {
  return { ...toKeyView(key), object: 'operator_key', scopes: key.scopes };
}

export function toIssuedOperatorKeyView(key: IssuedApiKey): IssuedOperatorKeyView {
  return { ...toOperatorKeyView(key), secret: key.secret };
}

export function toOperatorKeyList(url: string, page: Page<ApiKey>): OperatorKeyListView {
  return { object: 'list', url, has_more: page.hasMore, data: page.data.map(toOperatorKeyView) };
}

function toKeyView(key: ApiKey): KeyView {
  const { id, name, hint, status, createdAt, createdBy, lastUsedAt, expiresAt, revokedAt } = key;
  return {
    id,
    name,
    hint,
    status,
    created: toUnixSeconds(createdAt),
    created_by: createdBy,
    last_used_at: lastUsedAt && toUnixSeconds(lastUsedAt),
    expires_at: expiresAt && toUnixSeconds(expiresAt),
    revoked_at: revokedAt && toUnixSeconds(revokedAt),
  };
}

const SPEND_LIMITS =
  'What the key may spend, as hard as the wallet itself: running calls count with all that they have set aside. ' +
  'A limit that is left out stays as it is, null takes it away; null for the whole takes all of them away.';

export class UpdateApiKeyRequest {
  @ObjectField({ description: SPEND_LIMITS, type: SpendLimitsRequest, optional: true })
  declare readonly spend_limits?: SpendLimitsRequest | null;

  @DuplicateWindowField()
  declare readonly duplicate_window_seconds?: number | null;
}

export function toKeyChanges(request: UpdateApiKeyRequest): KeyChanges {
  const { spend_limits: limits, duplicate_window_seconds: seconds } = request;
  return { spendLimits: toLimitChanges(limits), duplicateWindowSeconds: seconds ?? undefined };
}

const WORDS = ['true', 'false'] as const;

/** The query of every route that revokes a key. */
export class RevokeKeyQuery {
  @WordField({
    description:
      'Whether all keys that the key has made, and those that they have made, are revoked as well. By default they are, because ' +
      'an attacker who has a leaked key may have made keys with it. A request by the key itself, or by a descendant of it, ' +
      'has to state this, because it may be a rotation; use `false` for a rotation.',
    words: WORDS,
    optional: true,
    example: 'true',
  })
  declare readonly with_descendants?: (typeof WORDS)[number];

  /** Undefined when the request does not say. */
  get withDescendants(): boolean | undefined {
    return this.with_descendants == null ? undefined : this.with_descendants === 'true';
  }
}
