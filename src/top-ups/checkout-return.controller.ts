import { Controller, Get } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { Public } from '../auth/public.decorator.js';
import { HtmlAnswer } from '../http/html-answer.decorator.js';

/** Where the payment page leads when the client named no pages of its own. They know nobody and tell nothing. */
@ApiTags('Top-ups')
@Controller('checkout')
@Public()
export class CheckoutReturnController {
  @Get('complete')
  @HtmlAnswer()
  @ApiOperation({ operationId: 'checkoutComplete', summary: 'The page after paying' })
  complete(): string {
    return page('Thank you', 'Your payment was received. The credit is in your wallet within seconds.');
  }

  @Get('canceled')
  @HtmlAnswer()
  @ApiOperation({ operationId: 'checkoutCanceled', summary: 'The page after going back without paying' })
  canceled(): string {
    return page('Not paid', 'Nothing was charged. The payment page stays open for an hour.');
  }
}

function page(title: string, text: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title></head>
<body><main><h1>${title}</h1><p>${text}</p><p>You can close this page.</p></main></body>
</html>
`;
}
