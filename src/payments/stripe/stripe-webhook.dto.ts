import { ApiProperty } from '@nestjs/swagger';

export class WebhookReceipt {
  @ApiProperty({ description: 'The event is stored and does not need to be sent again.', example: true })
  declare readonly received: true;
}
