import { Injectable } from '@nestjs/common';
import { askPage, type ListPage, type ListPageRequest } from '../list-window.js';
import { StripeApi } from '../stripe-api.js';

/** What Stripe's Events API still knows: the last 30 days, delivered or not. */
@Injectable()
export class StripeEventList {
  constructor(private readonly api: StripeApi) {}

  /**
   * Each as a body that a webhook could have carried. Throws `ListCursorLostError`, and what the
   * `PaymentGateway` throws.
   *
   * @param type in the spelling of snapshot events.
   */
  async page(type: string, request: ListPageRequest): Promise<ListPage<string>> {
    const page = await askPage(request, (params) =>
      this.api.call('list', (stripe) => stripe.events.list({ ...params, type })),
    );
    return { ...page, items: page.items.map((event) => JSON.stringify(event)) };
  }
}
