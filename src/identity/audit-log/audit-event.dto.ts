import { ApiProperty } from '@nestjs/swagger';
import { parseUtcTime, toUnixSeconds } from '../../platform/common/clock.js';
import { ObjectTypeView, TextField, TimeView, WordField } from '../../platform/common/fields.js';
import { ListQuery, ListView, type Page } from '../../platform/common/pagination.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { AUDIT_ACTS, type AuditAct, type AuditDetails } from './audit-event.js';
import type { AuditEvent, AuditFilter } from './audit-log.service.js';

export class AuditLogQuery extends ListQuery {
  @TextField({
    description: 'Only what concerns this account.',
    max: 100,
    optional: true,
    example: 'acct_01KB2H7Q0000000000000000AA',
  })
  declare readonly account?: string;

  @TextField({
    description: 'Only what this actor did.',
    max: 200,
    optional: true,
    example: 'operator_key:key_01KB2H7Q0000000000000000AA',
  })
  declare readonly actor?: string;

  @WordField({
    description: 'Only these acts.',
    words: AUDIT_ACTS,
    optional: true,
    example: 'api_key.created',
  })
  declare readonly act?: AuditAct;

  @TextField({
    description: 'Only from this moment on: a date (midnight UTC) or an ISO 8601 time.',
    max: 40,
    optional: true,
    example: '2026-11-01',
  })
  declare readonly from?: string;

  @TextField({ description: 'Only before this moment.', max: 40, optional: true, example: '2026-12-01' })
  declare readonly to?: string;
}

/** Throws `InvalidRequestError`. */
export function toAuditFilter({ account, actor, act, from, to }: AuditLogQuery): AuditFilter {
  return { account, actor, act, from: toTime('from', from), to: toTime('to', to) };
}

function toTime(param: 'from' | 'to', text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = parseUtcTime(text);
  if (time === null) {
    throw new InvalidRequestError(
      `${param} must be a date (2026-11-01) or a time (2026-11-01T00:00:00Z; write the + of an offset as %2B).`,
      param,
    );
  }
  return time;
}

const nullableText = (description: string, example: string) =>
  ApiProperty({ description, type: 'string', nullable: true, example });
const details = (description: string, example: AuditDetails) =>
  ApiProperty({ description, type: 'object', additionalProperties: true, nullable: true, example });

export class AuditEventView {
  @ObjectTypeView('audit_event')
  declare readonly object: 'audit_event';
  @ApiProperty({ description: 'Id of the event.', example: 'aud_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @TimeView('When, Unix seconds.')
  declare readonly created: number;
  @ApiProperty({ description: 'When, as it is hashed.', example: '2026-11-30T08:12:41.123Z' })
  declare readonly at: string;
  @ApiProperty({
    description:
      'Who: a key, `cli:` and a login, or `system`. `key_env` is the key of `COFFER_OPERATOR_KEY`.',
    example: 'operator_key:key_env',
  })
  declare readonly actor: string;
  @ApiProperty({ description: 'What was done.', enum: AUDIT_ACTS, example: 'api_key.created' })
  declare readonly act: string;
  @ApiProperty({ description: 'What it was done to.', example: 'api_key' })
  declare readonly object_type: string;
  @ApiProperty({ description: 'Its id.', example: 'key_01KB2H7Q0000000000000000AA' })
  declare readonly object_id: string;
  @nullableText('The account that it concerns.', 'acct_01KB2H7Q0000000000000000AA')
  declare readonly account: string | null;
  @details('What was changed, as it was.', { status: 'active' })
  declare readonly before: AuditDetails | null;
  @details('As it is from then on.', { name: 'production', scopes: ['generate'] })
  declare readonly after: AuditDetails | null;
  @nullableText('Why, where the request says so.', 'fraud')
  declare readonly reason: string | null;
  @nullableText('The request, as its answer and the log name it.', 'req_01KB2H7Q0000000000000000AA')
  declare readonly request_id: string | null;
  @nullableText('Where it came from.', '198.51.100.7')
  declare readonly client_address: string | null;
  @nullableText(
    'The place in the chain, in the order of commits; the list itself is in that of `id`. Null only if somebody has removed it from the database, which `coffer doctor` reports.',
    '4711',
  )
  declare readonly seq: string | null;
  @nullableText('SHA-256 of the event and the hash before it; null together with `seq`.', 'ab'.repeat(32))
  declare readonly hash: string | null;
}

export class AuditEventListView extends ListView {
  @ApiProperty({ description: 'The events.', type: [AuditEventView] })
  declare readonly data: AuditEventView[];
}

export function toAuditEventList({ data, hasMore }: Page<AuditEvent>): AuditEventListView {
  return { object: 'list', url: '/v1/audit_log', has_more: hasMore, data: data.map(toAuditEventView) };
}

function toAuditEventView(event: AuditEvent): AuditEventView {
  return {
    object: 'audit_event',
    id: event.id,
    created: toUnixSeconds(event.at),
    at: event.at.toISOString(),
    actor: event.actor,
    act: event.act,
    object_type: event.objectType,
    object_id: event.objectId,
    account: event.accountId,
    before: event.before,
    after: event.after,
    reason: event.reason,
    request_id: event.requestId,
    client_address: event.clientAddress,
    seq: event.seal?.seq ?? null,
    hash: event.seal?.hash ?? null,
  };
}
