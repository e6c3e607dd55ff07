import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import { Public } from '../../platform/http/public.decorator.js';
import { HtmlAnswer } from '../../platform/http/html-answer.decorator.js';
import { canceledPage, completePage } from './checkout-return.pages.js';
import { CheckoutReturns } from './checkout-returns.service.js';
import { PageShell } from '../../platform/http/pages/page-shell.js';

/** Where the payment page leads when the client named no pages of its own. Nobody has signed in here. */
@ApiTags('Top-ups')
@Controller('checkout')
@Public()
export class CheckoutReturnController {
  constructor(
    private readonly returns: CheckoutReturns,
    private readonly shell: PageShell,
  ) {}

  @Get('complete')
  @HtmlAnswer()
  @ApiOperation({
    operationId: 'checkoutComplete',
    summary: 'The page after paying',
    description:
      'Says what became of the payment to whoever brings the name of the payment page, which Stripe gives to nobody but the payer. Without it the page says nothing of any payment.',
  })
  @ApiQuery({ name: 'top_up', required: false, type: String, description: 'The top-up that was paid.' })
  @ApiQuery({ name: 'session', required: false, type: String, description: 'Written by Stripe.' })
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
