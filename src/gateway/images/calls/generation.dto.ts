import { ApiProperty } from '@nestjs/swagger';
import {
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
  WordField,
} from '../../../platform/common/fields.js';
import { ListQuery, ListView, type Page } from '../../../platform/common/pagination.js';
import { CONTENT_TYPES, type MediaSigner } from '../media/media-store.js';
import type { Receipt, ReceiptAttempt, ReceiptCharge } from './records/generation-receipts.service.js';
import { SEARCHED_DAYS_MAX } from './records/generation-filter.js';
import {
  getBillingMode,
  sharedFormat,
  type DeliveredImage,
  type StoredGeneration,
} from './records/generation.js';

const STATUSES = ['running', 'unresolved', 'succeeded', 'failed'] as const;
const SEARCHED = `Searches the ${SEARCHED_DAYS_MAX} days before \`to\`, or the time from \`from\` on.`;

export class GenerationListQuery extends ListQuery {
  @TextField({ description: `Only calls of this model. ${SEARCHED}`, max: 200, optional: true })
  declare readonly model?: string;

  @TextField({ description: `Only calls of this API key, by its id. ${SEARCHED}`, max: 100, optional: true })
  declare readonly api_key?: string;

  @TextField({
    description: `Only calls with this \`x-coffer-tag\`, or without one for this \`user\`. ${SEARCHED}`,
    max: 512,
    optional: true,
  })
  declare readonly tag?: string;

  @WordField({ description: `Only calls with this status. ${SEARCHED}`, words: STATUSES, optional: true })
  declare readonly status?: string;

  @TextField({
    description: 'Only calls that began then or later: a date (midnight UTC) or an ISO 8601 time.',
    max: 40,
    optional: true,
    example: '2026-11-01',
  })
  declare readonly from?: string;

  @TextField({
    description: 'Only calls that began before then, which is later than `from`.',
    max: 40,
    optional: true,
    example: '2026-12-01',
  })
  declare readonly to?: string;
}

export class GenerationImageView {
  @ApiProperty({ description: "Which of the call's images, from 0.", type: 'integer', example: 0 })
  declare readonly position: number;
  @ApiProperty({
    description:
      'A fresh signed URL, valid for 60 minutes; null once the image was deleted or is past its retention time.',
    type: 'string',
    nullable: true,
  })
  declare readonly url: string | null;
  @ApiProperty({
    description: 'How the image is encoded.',
    enum: Object.values(CONTENT_TYPES),
    example: 'image/png',
  })
  declare readonly content_type: string;
  @ApiProperty({ description: 'Size of the file.', type: 'integer', example: 1_482_117 })
  declare readonly bytes: number;
}

export class GenerationChargeView {
  @ApiProperty({
    description:
      'The ledger rows, in order: one for each lot of credit that was used. `GET /v1/wallet/transactions` lists them.',
    type: [String],
    example: ['txn_01KB2H7Q0000000000000000AA_000000000042'],
  })
  declare readonly transactions: readonly string[];
  @ApiProperty({
    description: "Sequence number of the first of them in the account's ledger.",
    type: 'string',
    example: '42',
  })
  declare readonly first_seq: string;
  @ApiProperty({ description: 'Sequence number of the last of them.', type: 'string', example: '42' })
  declare readonly last_seq: string;
  @MicroUsdView('Posted credit right before the charge.', '10000000')
  declare readonly balance_before_micros: string;
  @MicroUsdView('Posted credit right after the charge.', '9960000')
  declare readonly balance_after_micros: string;
  @TimeView('When it was charged, Unix seconds.')
  declare readonly posted: number;
}

export class GenerationAttemptView {
  @ApiProperty({ description: "Which of the call's images, from 0.", type: 'integer', example: 0 })
  declare readonly position: number;
  @ApiProperty({ description: 'Counts the attempts at one image, from 1.', type: 'integer', example: 1 })
  declare readonly attempt: number;
  @ApiProperty({ description: 'The provider that was asked.', example: 'black_forest_labs' })
  declare readonly provider: string;
  @ApiProperty({
    description: "The provider's own id of the task; null when it did not name one.",
    type: 'string',
    nullable: true,
  })
  declare readonly task: string | null;
  @ApiProperty({ description: 'How it ended.', enum: ['pending', 'delivered', 'failed'] })
  declare readonly status: string;
  @ApiProperty({
    description: 'Why it failed, such as `moderated`, `saturated` or `failed`.',
    type: 'string',
    nullable: true,
  })
  declare readonly failure: string | null;
}

export class GenerationTimingsView {
  @ApiProperty({
    description: 'Milliseconds until the credit was set aside.',
    type: 'integer',
    nullable: true,
  })
  declare readonly authorize_ms: number | null;
  @ApiProperty({
    description: 'Milliseconds that the provider took, including the download and the check of the images.',
    type: 'integer',
    nullable: true,
  })
  declare readonly provider_ms: number | null;
  @ApiProperty({
    description: 'Milliseconds from the start of the call to its end.',
    type: 'integer',
    nullable: true,
  })
  declare readonly total_ms: number | null;
}

export class GenerationView {
  @ObjectTypeView('generation')
  declare readonly object: 'generation';
  @ApiProperty({ example: 'gen_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({
    description:
      '`running`; `unresolved`: the provider did not finish in time, and the outcome is still being determined; ' +
      '`succeeded`: at least one image was delivered; `failed`: none was, and nothing was charged.',
    enum: STATUSES,
  })
  declare readonly status: string;
  @ApiProperty({
    description: '`edit`: the call was made with reference images.',
    enum: ['generation', 'edit'],
  })
  declare readonly operation: string;
  @ApiProperty({ description: 'How many reference images were sent.', type: 'integer', example: 0 })
  declare readonly references_count: number;
  @ApiProperty({ example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly model: string;
  @ApiProperty({ description: 'The size as WIDTHxHEIGHT.', example: '1024x1024' })
  declare readonly size: string;
  @ApiProperty({ description: 'How many were asked for.', type: 'integer', example: 1 })
  declare readonly images_requested: number;
  @ApiProperty({ description: 'How many were delivered and charged.', type: 'integer', example: 1 })
  declare readonly images_delivered: number;
  @ApiProperty({
    description: 'The format of the delivered images; null when they differ, and while there are none.',
    enum: ['png', 'jpeg', 'webp', null],
    type: 'string',
    nullable: true,
    example: 'jpeg',
  })
  declare readonly output_format: string | null;
  @ApiProperty({ description: 'The delivered images.', type: () => [GenerationImageView] })
  declare readonly images: readonly GenerationImageView[];
  @ApiProperty({ example: 'price_01KEWWTN00T5FC7C412HS87RX6' })
  declare readonly price_id: string;
  @MicroUsdView('The price of one image; with `billing_mode: byok` the list price, for information.')
  declare readonly unit_price_micros: string;
  @ApiProperty({
    description: '`byok`: made with your own provider key, which costs the wallet nothing.',
    enum: ['wallet', 'byok', 'free'],
  })
  declare readonly billing_mode: string;
  @ApiProperty({
    description: 'Your own provider key that the call used; null unless `byok`.',
    type: 'string',
    nullable: true,
  })
  declare readonly provider_key: string | null;
  @ApiProperty({
    description:
      'The refused call with your own provider key that this call replaced, paid from the wallet; null for any other call.',
    type: 'string',
    nullable: true,
  })
  declare readonly fell_back_from: string | null;
  @ApiProperty({
    description: 'The hold that set the credit aside; null where no wallet is involved.',
    type: 'string',
    nullable: true,
  })
  declare readonly hold: string | null;
  @MicroUsdView('What was charged.')
  declare readonly charged_micros: string;
  @ApiProperty({
    description: 'The charge in the ledger; null when nothing was charged.',
    type: () => GenerationChargeView,
    nullable: true,
  })
  declare readonly charge: GenerationChargeView | null;
  @ApiProperty({
    description:
      'Every attempt at every image, including failed ones after which another provider was asked.',
    type: () => [GenerationAttemptView],
  })
  declare readonly attempts: readonly GenerationAttemptView[];
  @ApiProperty({
    description:
      "The result of the provider's content filter: `refused` for at least one image; `passed` for all delivered ones; " +
      'null when it is not known.',
    type: 'string',
    enum: ['passed', 'refused', null],
    nullable: true,
  })
  declare readonly moderation: 'passed' | 'refused' | null;
  @ApiProperty({
    description: 'The error code when nothing was delivered, as in error answers.',
    type: 'string',
    nullable: true,
  })
  declare readonly error_code: string | null;
  @ApiProperty({ description: 'The `user` of the call.', type: 'string', nullable: true })
  declare readonly user: string | null;
  @ApiProperty({ description: 'The `x-coffer-tag` of the call.', type: 'string', nullable: true })
  declare readonly tag: string | null;
  @ApiProperty({ description: 'The `x-request-id` of the call.', example: 'req_01KB2H7Q0000000000000000AA' })
  declare readonly request_id: string;
  @ApiProperty({ description: 'The API key that called.', example: 'key_01KB2H7Q0000000000000000AA' })
  declare readonly api_key: string;
  @ApiProperty({ type: () => GenerationTimingsView })
  declare readonly timings: GenerationTimingsView;
  @TimeView('When the call began, Unix seconds.')
  declare readonly created: number;
}

export class GenerationListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [GenerationView] })
  declare readonly data: readonly GenerationView[];
}

export function toGenerationList(
  page: Page<Receipt>,
  signer: MediaSigner,
  nowMs: number,
): GenerationListView {
  const data = page.data.map((generation) => toGenerationView(generation, signer, nowMs));
  return { object: 'list', url: '/v1/generations', has_more: page.hasMore, data };
}

export function toGenerationView(generation: Receipt, signer: MediaSigner, nowMs: number): GenerationView {
  return {
    object: 'generation',
    id: generation.id,
    status: generation.status,
    operation: generation.operation,
    references_count: generation.referencesCount,
    model: generation.model,
    size: `${generation.width}x${generation.height}`,
    images_requested: generation.imagesRequested,
    images_delivered: generation.images.length,
    output_format: sharedFormat(generation.images),
    images: generation.images.map((image) => toImageView(generation, image, signer, nowMs)),
    price_id: generation.priceId,
    unit_price_micros: generation.priceMicros.toString(),
    billing_mode: getBillingMode(generation),
    provider_key: generation.providerKeyId,
    fell_back_from: generation.fellBackFrom,
    hold: generation.holdId,
    charged_micros: generation.chargedMicros.toString(),
    charge: generation.charge === null ? null : toChargeView(generation.charge),
    attempts: generation.attempts.map(toAttemptView),
    moderation: toModeration(generation.attempts),
    error_code: generation.errorCode,
    user: generation.endUser,
    tag: generation.tag,
    request_id: generation.requestId,
    api_key: generation.apiKeyId,
    timings: toTimings(generation),
    created: Math.floor(generation.createdAtMs / 1_000),
  };
}

function toChargeView(charge: ReceiptCharge): GenerationChargeView {
  return {
    transactions: charge.transactions,
    first_seq: charge.firstSeq.toString(),
    last_seq: charge.lastSeq.toString(),
    balance_before_micros: charge.beforeMicros.toString(),
    balance_after_micros: charge.afterMicros.toString(),
    posted: Math.floor(charge.postedAtMs / 1_000),
  };
}

function toAttemptView({ taskId, ...attempt }: ReceiptAttempt): GenerationAttemptView {
  return { ...attempt, task: taskId };
}

function toModeration(attempts: readonly ReceiptAttempt[]): 'passed' | 'refused' | null {
  if (attempts.some(({ failure }) => failure === 'moderated')) return 'refused';
  return attempts.some(({ status }) => status === 'delivered') ? 'passed' : null;
}

function toImageView(
  generation: StoredGeneration,
  image: DeliveredImage,
  signer: MediaSigner,
  nowMs: number,
): GenerationImageView {
  return {
    position: image.position,
    url: signer.signFreshUrl(generation, image, nowMs),
    content_type: CONTENT_TYPES[image.format],
    bytes: image.bytes,
  };
}

function toTimings({
  createdAtMs,
  authorizedAtMs,
  deliveredAtMs,
  finishedAtMs,
}: StoredGeneration): GenerationTimingsView {
  const between = (from: number | null, to: number | null) =>
    from === null || to === null ? null : to - from;
  return {
    authorize_ms: between(createdAtMs, authorizedAtMs),
    provider_ms: between(authorizedAtMs, deliveredAtMs),
    total_ms: between(createdAtMs, finishedAtMs),
  };
}
