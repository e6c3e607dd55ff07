import { Controller, Headers, HttpCode, Post, Req } from '@nestjs/common';
import { ApiBody, ApiHeader, ApiOkResponse, ApiOperation, ApiTags, ApiProperty } from '@nestjs/swagger';
import { Public } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { StripeInboxService } from './stripe-inbox.service.js';

export class WebhookReceipt {
  @ApiProperty({ description: 'The event is stored and does not need to be sent again.', example: true })
  declare readonly received: true;
}

@ApiTags('Webhooks')
@Controller('webhooks/stripe')
@Public({
  uncounted:
    'Events of all customers come from few addresses, and a forged event costs one hash. Large bodies are counted.',
})
export class StripeWebhookController {
  constructor(private readonly inbox: StripeInboxService) {}

  @Post()
  @HttpCode(200)
  @ApiOperation({
    operationId: 'receiveStripeEvent',
    summary: 'Receive an event from Stripe',
    description:
      'Only Stripe calls this. Events are stored when they were signed with the endpoint’s secret within the last five ' +
      'minutes. Both snapshot and thin events are accepted; unknown types are stored and acknowledged.',
  })
  @ApiHeader({
    name: 'Stripe-Signature',
    required: true,
    description: '`t=<unix seconds>,v1=<hex HMAC-SHA256>`',
  })
  @ApiBody({ schema: { type: 'object', description: 'A Stripe event.' } })
  @ApiOkResponse({ type: WebhookReceipt })
  @ApiProblems(
    'invalid_signature',
    'invalid_request',
    'malformed_body',
    'payload_too_large',
    'unsupported_media_type',
    'concurrency_limit_exceeded',
    'payments_unavailable',
    'database_unavailable',
  )
  async receive(
    @Req() { rawBody }: { rawBody?: Buffer },
    @Headers('stripe-signature') signature?: string,
  ): Promise<WebhookReceipt> {
    await this.inbox.receive(rawBody, signature);
    return { received: true };
  }
}
