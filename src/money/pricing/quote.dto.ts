import { ApiProperty } from '@nestjs/swagger';
import { IntegerField, MicroUsdView, ObjectTypeView, TextField } from '../../platform/common/fields.js';
import { computeCost, type Price } from './price.js';

/** One call of the images API can ask for at most 10 images, but a quote may be for a whole campaign. */
const IMAGES_MAX = 1_000_000;

export class QuoteRequest {
  @TextField({ description: 'Id of the model.', max: 200, example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly model: string;

  @IntegerField({
    description: 'The number of images; 1 when absent.',
    min: 1,
    max: IMAGES_MAX,
    optional: true,
    example: 3,
  })
  declare readonly images?: number | null;

  @IntegerField({
    description: "OpenAI's name for `images`. Send one of the two.",
    min: 1,
    max: IMAGES_MAX,
    optional: true,
  })
  declare readonly n?: number | null;

  @TextField({
    description: 'WIDTHxHEIGHT or `auto`. Prices are per image, whatever its size.',
    max: 20,
    pattern: /^(auto|\d{1,5}x\d{1,5})$/,
    optional: true,
    example: '1024x1024',
  })
  declare readonly size?: string | null;
}

export class QuoteView {
  @ObjectTypeView('quote')
  declare readonly object: 'quote';
  @ApiProperty({ description: 'Id of the model.', example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly model: string;
  @ApiProperty({ description: 'The number of images that was asked for.', type: 'integer', example: 3 })
  declare readonly images: number;
  @ApiProperty({ description: 'The unit of the price.', enum: ['image'] })
  declare readonly unit: string;
  @MicroUsdView('For one image.')
  declare readonly unit_price_micros: string;
  @MicroUsdView('For all of them. No fee comes on top: the platform fee is taken at top-up.', '120000')
  declare readonly total_micros: string;
  @ApiProperty({
    description: 'The price in force; every charge names the price that it was made with.',
    example: 'price_01KEWWTN00T5FC7C412HS87RX6',
  })
  declare readonly price_id: string;
  @ApiProperty({ description: "The model's price versions count from 1.", type: 'integer', example: 1 })
  declare readonly price_version: number;
}

export function toQuoteView(price: Price, images: number): QuoteView {
  return {
    object: 'quote',
    model: price.model,
    images,
    unit: price.unit,
    unit_price_micros: price.amountMicros.toString(),
    total_micros: computeCost(price, images).toString(),
    price_id: price.id,
    price_version: price.version,
  };
}
