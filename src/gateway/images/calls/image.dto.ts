import { ApiProperty } from '@nestjs/swagger';
import { END_USER_CHARS_MAX, IMAGES_MAX, PROMPT_CHARS_MAX } from './image-request.js';

/**
 * OpenAI's `CreateImageRequest` as this service accepts it. This class is documentation only: `parseImageRequest` validates, because
 * OpenAI's rules (null means absent, some values are refused by name) differ from those of our own routes.
 */
export class CreateImageRequest {
  @ApiProperty({ description: 'Id of the model.', example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly model: string;

  @ApiProperty({
    description: 'What the image should show. It is neither stored nor logged.',
    minLength: 1,
    maxLength: PROMPT_CHARS_MAX,
    example: 'A red fox in the snow, golden hour',
  })
  declare readonly prompt: string;

  @ApiProperty({
    description: 'How many images. Only delivered ones are charged.',
    type: 'integer',
    minimum: 1,
    maximum: IMAGES_MAX,
    default: 1,
    required: false,
    nullable: true,
  })
  declare readonly n?: number | null;

  @ApiProperty({
    description:
      '`auto` (1024x1024) or WIDTHxHEIGHT: multiples of 16, each at least 64, together at most 4,194,304 pixels.',
    type: 'string',
    pattern: '^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$',
    default: 'auto',
    required: false,
    nullable: true,
    example: '1024x1024',
  })
  declare readonly size?: string | null;

  @ApiProperty({
    description: '`url`: a signed URL, valid for 60 minutes. `b64_json`: the image itself.',
    type: 'string',
    enum: ['url', 'b64_json'],
    default: 'url',
    required: false,
    nullable: true,
  })
  declare readonly response_format?: string | null;

  @ApiProperty({
    description:
      'The format of the images. Without it they are delivered as their provider made them; `output_format` of the answer and ' +
      'the content type of a URL say how.',
    type: 'string',
    enum: ['png', 'jpeg', 'webp'],
    required: false,
    nullable: true,
  })
  declare readonly output_format?: string | null;

  @ApiProperty({
    description: "`low` asks for the provider's more tolerant filter.",
    type: 'string',
    enum: ['auto', 'low'],
    default: 'auto',
    required: false,
    nullable: true,
  })
  declare readonly moderation?: string | null;

  @ApiProperty({
    description:
      'The end user for whom you make the image, such as a hashed id. It is kept for tracing abuse.',
    type: 'string',
    maxLength: END_USER_CHARS_MAX,
    required: false,
    nullable: true,
  })
  declare readonly user?: string | null;

  @ApiProperty({
    description: 'Only `auto` and `standard`.',
    type: 'string',
    enum: ['auto', 'standard'],
    required: false,
    nullable: true,
  })
  declare readonly quality?: string | null;

  @ApiProperty({
    description: 'Only `auto` and `opaque`.',
    type: 'string',
    enum: ['auto', 'opaque'],
    required: false,
    nullable: true,
  })
  declare readonly background?: string | null;

  @ApiProperty({
    description: 'Only `vivid`, which has no effect.',
    type: 'string',
    enum: ['vivid'],
    required: false,
    nullable: true,
  })
  declare readonly style?: string | null;

  @ApiProperty({
    description: 'Only 100.',
    type: 'integer',
    minimum: 100,
    maximum: 100,
    required: false,
    nullable: true,
  })
  declare readonly output_compression?: number | null;

  @ApiProperty({
    description: 'Only false: images are not streamed.',
    type: 'boolean',
    enum: [false],
    required: false,
    nullable: true,
  })
  declare readonly stream?: boolean | null;

  @ApiProperty({
    description: 'Only 0: images are not streamed.',
    type: 'integer',
    minimum: 0,
    maximum: 0,
    required: false,
    nullable: true,
  })
  declare readonly partial_images?: number | null;
}

export class ImageView {
  @ApiProperty({
    description: 'With `response_format: url`.',
    required: false,
    example: 'https://coffer.example/v1/media/gen_01KB2H7Q0000000000000000AA/0.png?expires=…&signature=…',
  })
  declare readonly url?: string;

  @ApiProperty({ description: 'With `response_format: b64_json`.', required: false, example: 'iVBORw0K…' })
  declare readonly b64_json?: string;
}

export class ImagesView {
  @ApiProperty({
    description: 'When the call began, Unix seconds.',
    type: 'integer',
    example: 1_795_329_561,
  })
  declare readonly created: number;

  @ApiProperty({
    description:
      'The delivered images; fewer than `n` when the provider failed at some. Only these are charged.',
    type: () => [ImageView],
  })
  declare readonly data: readonly ImageView[];

  @ApiProperty({
    description:
      'The format of the images; absent when they differ, which is possible only when the call named no format.',
    enum: ['png', 'jpeg', 'webp'],
    required: false,
    example: 'jpeg',
  })
  declare readonly output_format?: string;
}
