import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView } from './fields.js';

/** The members that every list has; each list adds its own `data`, newest first. */
export abstract class ListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'The route that was asked.', example: '/v1/top_ups' })
  declare readonly url: string;
  @ApiProperty({ description: 'Whether there are more after this page.' })
  declare readonly has_more: boolean;
}
