import { ApiProperty } from '@nestjs/swagger';
import { MicroUsdView, ObjectTypeView, TimeView } from '../common/fields.js';
import type { Page } from '../common/pagination.js';
import { CONTENT_TYPES, mediaNameOf } from './media/media-name.js';
import { URL_VALID_SECONDS, type MediaSigner } from './media/media-signer.js';
import { MEDIA_RETENTION_MS } from './generation-limits.js';
import { billingModeOf, type DeliveredImage, type StoredGeneration } from './records/generation.js';

export class GenerationImageView {
  @ApiProperty({ description: "Which of the call's images, from 0.", type: 'integer', example: 0 })
  declare readonly position: number;
  @ApiProperty({
    description: 'A fresh signed URL, valid for 60 minutes; null once the image is past its retention time.',
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

export class GenerationTimingsView {
  @ApiProperty({
    description: 'Milliseconds until the credit was set aside.',
    type: 'integer',
    nullable: true,
  })
  declare readonly authorize_ms: number | null;
  @ApiProperty({
    description: 'Milliseconds that the provider took, download and check included.',
    type: 'integer',
    nullable: true,
  })
  declare readonly provider_ms: number | null;
  @ApiProperty({
    description: 'Milliseconds from the beginning to the end.',
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
      '`running`; `unresolved`: the provider did not finish in time, and the outcome is being found out; ' +
      '`succeeded`: at least one image was delivered; `failed`: none was, and nothing was charged.',
    enum: ['running', 'unresolved', 'succeeded', 'failed'],
  })
  declare readonly status: string;
  @ApiProperty({ example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly model: string;
  @ApiProperty({ description: 'As WIDTHxHEIGHT.', example: '1024x1024' })
  declare readonly size: string;
  @ApiProperty({ description: 'How many were asked for.', type: 'integer', example: 1 })
  declare readonly images_requested: number;
  @ApiProperty({ description: 'How many were delivered and charged.', type: 'integer', example: 1 })
  declare readonly images_delivered: number;
  @ApiProperty({ description: 'The delivered images.', type: () => [GenerationImageView] })
  declare readonly images: readonly GenerationImageView[];
  @ApiProperty({ example: 'price_01KEWWTN00T5FC7C412HS87RX6' })
  declare readonly price_id: string;
  @MicroUsdView('For one image; with `billing_mode: byok` the list price, for information.')
  declare readonly unit_price_micros: string;
  @ApiProperty({
    description: '`byok`: over your own provider key, which costs the wallet nothing.',
    enum: ['wallet', 'byok', 'free'],
  })
  declare readonly billing_mode: string;
  @ApiProperty({
    description: 'Your own provider key that the call went over; null unless `byok`.',
    type: 'string',
    nullable: true,
  })
  declare readonly provider_key: string | null;
  @ApiProperty({
    description:
      'The call over your own provider key that was refused, and that this one was paid instead of.',
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
    description: 'Why nothing was delivered, as in error answers.',
    type: 'string',
    nullable: true,
  })
  declare readonly error_code: string | null;
  @ApiProperty({ description: 'The `user` of the call.', type: 'string', nullable: true })
  declare readonly user: string | null;
  @ApiProperty({ description: 'The `x-request-id` of the call.', example: 'req_01KB2H7Q0000000000000000AA' })
  declare readonly request_id: string;
  @ApiProperty({ description: 'The API key that called.', example: 'key_01KB2H7Q0000000000000000AA' })
  declare readonly api_key: string;
  @ApiProperty({ type: () => GenerationTimingsView })
  declare readonly timings: GenerationTimingsView;
  @TimeView('When the call began, Unix seconds.')
  declare readonly created: number;
}

export class GenerationListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'The route that was asked.', example: '/v1/generations' })
  declare readonly url: string;
  @ApiProperty({ description: 'Whether there are more behind this page.' })
  declare readonly has_more: boolean;
  @ApiProperty({ description: 'Newest first.', type: () => [GenerationView] })
  declare readonly data: readonly GenerationView[];
}

export function toGenerationList(
  page: Page<StoredGeneration>,
  signer: MediaSigner,
  nowMs: number,
): GenerationListView {
  const data = page.data.map((generation) => toGenerationView(generation, signer, nowMs));
  return { object: 'list', url: '/v1/generations', has_more: page.hasMore, data };
}

export function toGenerationView(
  generation: StoredGeneration,
  signer: MediaSigner,
  nowMs: number,
): GenerationView {
  return {
    object: 'generation',
    id: generation.id,
    status: generation.status,
    model: generation.model,
    size: `${generation.width}x${generation.height}`,
    images_requested: generation.imagesRequested,
    images_delivered: generation.images.length,
    images: generation.images.map((image) => toImageView(generation, image, signer, nowMs)),
    price_id: generation.priceId,
    unit_price_micros: generation.priceMicros.toString(),
    billing_mode: billingModeOf(generation),
    provider_key: generation.providerKeyId,
    fell_back_from: generation.fellBackFrom,
    hold: generation.holdId,
    charged_micros: generation.chargedMicros.toString(),
    error_code: generation.errorCode,
    user: generation.endUser,
    request_id: generation.requestId,
    api_key: generation.apiKeyId,
    timings: toTimings(generation),
    created: Math.floor(generation.createdAtMs / 1_000),
  };
}

function toImageView(
  generation: StoredGeneration,
  { position, bytes }: DeliveredImage,
  signer: MediaSigner,
  nowMs: number,
): GenerationImageView {
  const isKept = nowMs - generation.createdAtMs < MEDIA_RETENTION_MS;
  const expires = Math.floor(nowMs / 1_000) + URL_VALID_SECONDS;
  const name = mediaNameOf(generation, position);
  return {
    position,
    url: isKept ? signer.urlOf(name, expires, signer.keyId) : null,
    content_type: CONTENT_TYPES[generation.outputFormat],
    bytes,
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
