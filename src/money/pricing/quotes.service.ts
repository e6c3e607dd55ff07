import { Injectable } from '@nestjs/common';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { PriceBookService } from './price-book.service.js';
import { toQuoteView, type QuoteRequest, type QuoteView } from './quote.dto.js';

@Injectable()
export class QuotesService {
  constructor(private readonly prices: PriceBookService) {}

  /** Throws `ModelNotFoundError` (404), and `InvalidRequestError` when `images` and `n` disagree. */
  async quote({ model, images, n }: QuoteRequest): Promise<QuoteView> {
    if (images != null && n != null && images !== n) {
      throw new InvalidRequestError('images and n mean the same; send one of them.', 'n');
    }
    return toQuoteView(await this.prices.requirePrice(model), images ?? n ?? 1);
  }
}
