import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  PaymentDecisionRequest,
  PaymentReviewListView,
  PaymentReviewQuery,
  PaymentReviewView,
  toPaymentReviewList,
  toPaymentReviewView,
} from './payment-review.dto.js';
import { PaymentReviewsService } from './payment-reviews.service.js';

@ApiTags('Top-ups')
@Controller('v1/payment_reviews')
export class PaymentReviewsController {
  constructor(private readonly reviews: PaymentReviewsService) {}

  @Get()
  @RequireScope('finance')
  @ApiOperation({
    operationId: 'listPaymentReviews',
    summary: 'List payments that contradict their quote, newest first',
    description:
      'A payment whose amount, currency or mode differs from the quote, or a second payment of the same top-up, is not ' +
      'credited and waits here for a decision.',
  })
  @ApiOkResponse({ type: PaymentReviewListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(@Query() query: PaymentReviewQuery): Promise<PaymentReviewListView> {
    return toPaymentReviewList(await this.reviews.list(query.status ?? null, query.page));
  }

  @Get(':id')
  @RequireScope('finance')
  @ApiOperation({ operationId: 'retrievePaymentReview', summary: 'Read one payment review' })
  @ApiOkResponse({ type: PaymentReviewView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') id: string): Promise<PaymentReviewView> {
    return toPaymentReviewView(await this.reviews.require(id));
  }

  @Post(':id/return')
  @HttpCode(200)
  @RequireScope('admin')
  @ApiOperation({
    operationId: 'returnReviewedPayment',
    summary: 'Refund the payment in full',
    description:
      'Refunds everything of it that was not refunded before, in the currency in which it was paid. Nothing is credited, ' +
      'now or later. A repeated request continues the same refund and never refunds twice.',
  })
  @ApiOkResponse({ type: PaymentReviewView })
  @ApiProblems(
    'invalid_request',
    'malformed_body',
    'resource_missing',
    'payment_review_resolved',
    'payment_not_returnable',
    'payment_return_refused',
    'database_unavailable',
  )
  async return(
    @Param('id') id: string,
    @Body() { reason }: PaymentDecisionRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<PaymentReviewView> {
    return toPaymentReviewView(await this.reviews.return(id, { by: operator, reason }));
  }

  @Post(':id/dismiss')
  @HttpCode(200)
  @RequireScope('admin')
  @ApiOperation({
    operationId: 'dismissReviewedPayment',
    summary: 'Close the review without a refund',
    description:
      'For a payment that was settled elsewhere. Nothing is credited, now or later, and no money moves: the part that ' +
      'Stripe holds stays owed in `unapplied_payments`.',
  })
  @ApiOkResponse({ type: PaymentReviewView })
  @ApiProblems(
    'invalid_request',
    'malformed_body',
    'resource_missing',
    'payment_review_resolved',
    'database_unavailable',
  )
  async dismiss(
    @Param('id') id: string,
    @Body() { reason }: PaymentDecisionRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<PaymentReviewView> {
    return toPaymentReviewView(await this.reviews.dismiss(id, { by: operator, reason }));
  }
}
