import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import { Public } from '../../platform/http/routes.js';
import { HtmlAnswer } from '../../platform/http/pages/page-headers.js';
import { canceledPage, completePage } from './checkout-return.pages.js';
import { CheckoutReturnsService } from './checkout-returns.service.js';
import { PageShell } from '../../platform/http/pages/render-html.js';

/** The pages after a payment, for clients that named no pages of their own. They need no authentication. */
@ApiTags('Top-ups')
@Controller('checkout')
@Public()
export class CheckoutReturnController {
  constructor(
    private readonly returns: CheckoutReturnsService,
    private readonly shell: PageShell,
  ) {}

  @Get('complete')
  @HtmlAnswer()
  @ApiOperation({
    operationId: 'checkoutComplete',
    summary: 'The page after paying',
    description:
      'Shows the status of the payment to a caller who sends the id of the payment page, which Stripe gives only to the payer. Without that id the page shows no payment.',
  })
  @ApiQuery({ name: 'top_up', required: false, type: String, description: 'The top-up that was paid.' })
  @ApiQuery({
    name: 'session',
    required: false,
    type: String,
    description: 'The id of the payment page, which Stripe fills in.',
  })
  async complete(@Query('top_up') id: unknown, @Query('session') session: unknown): Promise<string> {
    return this.shell.render(completePage(await this.returns.find(id, session)));
  }

  @Get('canceled')
  @HtmlAnswer()
  @ApiOperation({ operationId: 'checkoutCanceled', summary: 'The page after going back without paying' })
  canceled(): string {
    return this.shell.render(canceledPage());
  }
}
