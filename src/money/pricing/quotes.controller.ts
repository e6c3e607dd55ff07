import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { QuoteRequest, QuoteView } from './quote.dto.js';
import { QuotesService } from './quotes.service.js';

@ApiTags('Pricing')
@Controller('v1/quotes')
export class QuotesController {
  constructor(private readonly quotes: QuotesService) {}

  @Post()
  @HttpCode(200)
  @RequireScope('generate')
  @ApiOperation({ operationId: 'createQuote', summary: 'What images would cost now; nothing is reserved' })
  @ApiOkResponse({ type: QuoteView })
  @ApiProblems('invalid_request', 'model_not_found', 'database_unavailable')
  create(@Body() body: QuoteRequest): Promise<QuoteView> {
    return this.quotes.quote(body);
  }
}
