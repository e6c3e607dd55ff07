import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView } from './fields.js';

/** What every list of ours says of itself; each adds its own `data`, newest first. */
export abstract class ListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'The route that was asked.', example: '/v1/top_ups' })
  declare readonly url: string;
  @ApiProperty({ description: 'Whether there are more behind this page.' })
  declare readonly has_more: boolean;
}
