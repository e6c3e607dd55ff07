import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView, TimeView } from '../../../platform/common/fields.js';
import type { ImageModel } from '../calls/image-request.js';

/** OpenAI's `Model`. */
export class ModelView {
  @ApiProperty({ description: 'What `model` takes.', example: 'black-forest-labs/flux-2-klein-9b' })
  declare readonly id: string;
  @ObjectTypeView('model')
  declare readonly object: 'model';
  @TimeView('When it was released, Unix seconds.')
  declare readonly created: number;
  @ApiProperty({ description: 'Who makes the model.', example: 'black-forest-labs' })
  declare readonly owned_by: string;
}

export class ModelListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'Every model, in one page.', type: () => [ModelView] })
  declare readonly data: readonly ModelView[];
}

export function toModelView(model: ImageModel): ModelView {
  return { id: model.id, object: 'model', created: model.created, owned_by: model.ownedBy };
}
