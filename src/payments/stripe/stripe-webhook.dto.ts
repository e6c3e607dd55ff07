import { ApiProperty } from '@nestjs/swagger';

export class WebhookReceipt {
  @ApiProperty({ description: 'The event is stored; it need not be sent again.', example: true })
  declare readonly received: true;
}
