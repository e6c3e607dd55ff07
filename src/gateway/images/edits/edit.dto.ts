import { ApiProperty, getSchemaPath, OmitType } from '@nestjs/swagger';
import { CreateImageRequest } from '../calls/image.dto.js';
import { REFERENCE_BYTES_MAX } from './arriving-image.js';

/** Every model so far accepts this many. The limit that is enforced is `references_max` of the catalogue. */
const REFERENCES_MAX = 4;
const REFERENCE_RULE =
  'PNG, JPEG or WebP of at most 20 MiB and 25 megapixels, each side at least 64 pixels and at most 8 times the other.';

/** The parameters that an edit shares with a generation. These classes are documentation only, as `CreateImageRequest` is. */
class EditParameters extends OmitType(CreateImageRequest, ['size', 'style'] as const) {
  @ApiProperty({
    description:
      '`auto` (the size of the first reference image, as near as the model makes it) or WIDTHxHEIGHT: multiples of 16, ' +
      'each at least 64, together at most 4,194,304 pixels.',
    type: 'string',
    pattern: '^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$',
    default: 'auto',
    required: false,
    nullable: true,
    example: '1024x1024',
  })
  declare readonly size?: string | null;

  @ApiProperty({
    description: 'Only `low`, which has no effect.',
    type: 'string',
    enum: ['low'],
    required: false,
    nullable: true,
  })
  declare readonly input_fidelity?: string | null;
}

/** OpenAI's `CreateImageEditRequest`. */
export class EditImageForm extends EditParameters {
  @ApiProperty({
    description: `One file, or \`image[]\` (or \`image\` again) for up to four. ${REFERENCE_RULE}`,
    type: 'array',
    items: { type: 'string', format: 'binary' },
    minItems: 1,
    maxItems: REFERENCES_MAX,
  })
  declare readonly image: readonly string[];
}

export class EditImageReference {
  @ApiProperty({
    description: `The image. ${REFERENCE_RULE}`,
    type: 'string',
    maxLength: REFERENCE_BYTES_MAX,
    example: 'data:image/png;base64,iVBORw0K…',
  })
  declare readonly image_url: string;
}

/** OpenAI's `EditImageBodyJsonParam`. */
export class EditImageRequest extends EditParameters {
  @ApiProperty({
    description: 'The reference images, in the order in which the prompt refers to them.',
    type: () => [EditImageReference],
    minItems: 1,
    maxItems: REFERENCES_MAX,
  })
  declare readonly images: readonly EditImageReference[];
}

/** The request bodies are written out here, because a decorator can give all media types one schema only. */
export const editBodies = {
  required: true,
  content: {
    'multipart/form-data': { schema: { $ref: getSchemaPath(EditImageForm) } },
    'application/json': { schema: { $ref: getSchemaPath(EditImageRequest) } },
  },
};
