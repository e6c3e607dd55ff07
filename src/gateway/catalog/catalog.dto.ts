import { ApiProperty } from '@nestjs/swagger';
import {
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
  WordField,
} from '../../platform/common/fields.js';
import { toUnixSeconds } from '../../platform/common/clock.js';
import type { TopUpQuote } from '../../payments/top-ups/quote.js';
import { MODALITIES, releasedAtSeconds, type Modality } from './catalog.js';
import { isFree, modelPath, type CatalogData, type PricedModel } from './catalog-data.js';
import type { Ranking, RankedModel } from './ranking/model-ranking.service.js';

const EXAMPLE_MODEL = 'black-forest-labs/flux-2-klein-9b';
const ID_LENGTH_MAX = 200;
const MODALITY_WORDS = Object.keys(MODALITIES) as Modality[];

export class CatalogModelsQuery {
  @TextField({
    description: 'Only models of this maker.',
    max: ID_LENGTH_MAX,
    optional: true,
    example: 'black-forest-labs',
  })
  declare readonly maker?: string | null;

  @WordField({
    description: 'Only models that do this.',
    words: MODALITY_WORDS,
    optional: true,
    example: 'text_to_image',
  })
  declare readonly modality?: Modality | null;

  @WordField({ description: '`free`: only models that cost nothing.', words: ['free'], optional: true })
  declare readonly price?: 'free' | null;
}

export class CatalogComparisonQuery {
  @TextField({
    description: 'Ids of models, comma-separated; at most 4 are answered, unknown ones are left out.',
    max: 10 * ID_LENGTH_MAX,
    example: `${EXAMPLE_MODEL},black-forest-labs/flux-2-klein-4b`,
  })
  declare readonly models: string;
}

export class CatalogCollectionQuery {
  @TextField({
    description: 'For `more-from-maker`: whose models.',
    max: ID_LENGTH_MAX,
    optional: true,
    example: 'black-forest-labs',
  })
  declare readonly maker?: string | null;
}

export class CatalogMakerView {
  @ApiProperty({ description: 'The first part of its models’ ids.', example: 'black-forest-labs' })
  declare readonly id: string;
  @ApiProperty({ description: 'As people write it.', example: 'Black Forest Labs' })
  declare readonly name: string;
}

export class CatalogSizeView {
  @ApiProperty({ description: 'The size when the call names none.', example: '1024x1024' })
  declare readonly default: string;
  @ApiProperty({ description: 'The smallest side, in pixels.', type: 'integer', example: 64 })
  declare readonly side_min: number;
  @ApiProperty({ description: 'Both sides are multiples of this.', type: 'integer', example: 16 })
  declare readonly side_step: number;
  @ApiProperty({ description: 'The largest number of pixels.', type: 'integer', example: 4_194_304 })
  declare readonly pixels_max: number;
}

export class CatalogModelView {
  @ApiProperty({ description: 'The `model` of a call.', example: EXAMPLE_MODEL })
  declare readonly id: string;
  @ObjectTypeView('catalog_model')
  declare readonly object: 'catalog_model';
  @ApiProperty({ description: 'As people write it.', example: 'FLUX.2 [klein] 9B' })
  declare readonly name: string;
  @ApiProperty({ description: 'Who makes the model.', type: () => CatalogMakerView })
  declare readonly maker: CatalogMakerView;
  @ApiProperty({ description: 'The family it belongs to.', example: 'FLUX.2' })
  declare readonly family: string;
  @ApiProperty({
    description: 'The model in one line.',
    example: 'Photorealistic images and readable text in about three seconds.',
  })
  declare readonly tagline: string;
  @ApiProperty({ description: 'Paragraphs of plain text.', type: [String] })
  declare readonly description: readonly string[];
  @ApiProperty({ description: 'What it makes images from.', enum: MODALITY_WORDS, isArray: true })
  declare readonly modalities: readonly Modality[];
  @TimeView('When it was released, Unix seconds.')
  declare readonly released_at: number;
  @MicroUsdView('For one delivered image, now. 0 is free.')
  declare readonly price_micros: string;
  @ApiProperty({ description: 'The current price.', example: 'price_01KEWWTN00T5FC7C412HS87RX6' })
  declare readonly price_id: string;
  @ApiProperty({ description: 'Whether it needs no credit.', example: false })
  declare readonly free: boolean;
  @ApiProperty({
    description: 'How long an image usually takes; null when that is not known.',
    type: 'integer',
    nullable: true,
    example: 3,
  })
  declare readonly typical_seconds: number | null;
  @ApiProperty({ description: 'How many reference images one call may have.', type: 'integer', example: 4 })
  declare readonly references_max: number;
  @ApiProperty({ description: 'The sizes that an image may have.', type: () => CatalogSizeView })
  declare readonly size: CatalogSizeView;
  @ApiProperty({ description: 'What it is good at.', type: [String], example: ['Photorealism'] })
  declare readonly strengths: readonly string[];
  @ApiProperty({ description: 'What it is used for.', type: [String], example: ['Product photos'] })
  declare readonly use_cases: readonly string[];
  @ApiProperty({ description: 'Its page.', example: `/models/${EXAMPLE_MODEL}` })
  declare readonly page: string;
}

export class CatalogModelListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'The published version of the catalogue.', type: 'integer', example: 1 })
  declare readonly version: number;
  @ApiProperty({ description: 'All models, in one page.', type: () => [CatalogModelView] })
  declare readonly data: readonly CatalogModelView[];
}

export class RankedModelView {
  @ApiProperty({ description: 'Id of the model.', example: EXAMPLE_MODEL })
  declare readonly model: string;
  @ApiProperty({ description: 'Delivered images, over all customers.', type: 'integer', example: 1_200 })
  declare readonly images: number;
}

export class RankingView {
  @ObjectTypeView('ranking')
  declare readonly object: 'ranking';
  @TimeView('When it was added up, Unix seconds.')
  declare readonly as_of: number;
  @ApiProperty({ description: 'The last 24 hours, most used first.', type: () => [RankedModelView] })
  declare readonly day: readonly RankedModelView[];
  @ApiProperty({ description: 'The last 7 days.', type: () => [RankedModelView] })
  declare readonly week: readonly RankedModelView[];
  @ApiProperty({ description: 'The last 30 days.', type: () => [RankedModelView] })
  declare readonly month: readonly RankedModelView[];
}

export class TopUpExampleView {
  @MicroUsdView('What the wallet gets.', '100000000')
  declare readonly credit_micros: string;
  @MicroUsdView('The platform fee.', '5000000')
  declare readonly fee_micros: string;
  @ApiProperty({ description: 'What is paid, in cents.', type: 'integer', example: 10_500 })
  declare readonly charge_cents: number;
}

export class PricingView {
  @ObjectTypeView('pricing')
  declare readonly object: 'pricing';
  @ApiProperty({
    description: 'The platform fee in hundredths of a percent; taken at top-up, never per call.',
    type: 'integer',
    example: 500,
  })
  declare readonly top_up_fee_bps: number;
  @ApiProperty({
    description: '`on_top`: paid in addition to the credit. `deducted`: taken out of what is paid.',
    enum: ['on_top', 'deducted'],
  })
  declare readonly top_up_fee_mode: string;
  @ApiProperty({ description: 'What some top-ups cost.', type: () => [TopUpExampleView] })
  declare readonly top_up_examples: readonly TopUpExampleView[];
  @ApiProperty({ description: 'Every model with its price.', type: () => [CatalogModelView] })
  declare readonly models: readonly CatalogModelView[];
}

export function toCatalogModelView(model: PricedModel): CatalogModelView {
  const { id, name, maker, family, tagline, description, modalities, price, size } = model;
  return {
    id,
    object: 'catalog_model',
    name,
    maker: { id: maker.id, name: maker.name },
    family,
    tagline,
    description,
    modalities,
    released_at: releasedAtSeconds(model),
    price_micros: price.amountMicros.toString(),
    price_id: price.id,
    free: isFree(model),
    typical_seconds: model.typicalSeconds,
    references_max: model.referencesMax,
    size: {
      default: `${size.widthDefault}x${size.heightDefault}`,
      side_min: size.sideMin,
      side_step: size.sideStep,
      pixels_max: size.pixelsMax,
    },
    strengths: model.strengths,
    use_cases: model.useCases,
    page: modelPath(model),
  };
}

export function toModelListView(
  { version }: CatalogData,
  models: readonly PricedModel[],
): CatalogModelListView {
  return { object: 'list', version, data: models.map(toCatalogModelView) };
}

export function toRankingView({ asOfMs, windows }: Ranking): RankingView {
  const view = (ranked: readonly RankedModel[]): RankedModelView[] =>
    ranked.map(({ model, images }) => ({ model, images: Number(images) }));
  return {
    object: 'ranking',
    as_of: toUnixSeconds(new Date(asOfMs)),
    day: view(windows.day),
    week: view(windows.week),
    month: view(windows.month),
  };
}

export function toPricingView({ topUp, models }: CatalogData, quotes: readonly TopUpQuote[]): PricingView {
  return {
    object: 'pricing',
    top_up_fee_bps: topUp.feeBps,
    top_up_fee_mode: topUp.feeMode,
    top_up_examples: quotes.map(({ creditMicros, feeMicros, chargeCents }) => ({
      credit_micros: creditMicros.toString(),
      fee_micros: feeMicros.toString(),
      charge_cents: Number(chargeCents),
    })),
    models: models.map(toCatalogModelView),
  };
}
