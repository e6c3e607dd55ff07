import { Injectable } from '@nestjs/common';
import { fetchPage, type ListPage, type ListPageRequest } from '../list-window.js';
import { StripeApi } from '../stripe-api.js';

/** Reads Stripe's Events API. It has the events of the last 30 days, whether they were delivered or not. */
@Injectable()
export class StripeEventList {
  constructor(private readonly api: StripeApi) {}

  /**
   * Returns each event as the body that a webhook would have. Throws `ListCursorLostError`, and what the
   * `PaymentGateway` throws.
   *
   * @param type the type in the spelling of snapshot events.
   */
  async page(type: string, request: ListPageRequest): Promise<ListPage<string>> {
    const page = await fetchPage(request, (params) =>
      this.api.call('list', (stripe) => stripe.events.list({ ...params, type })),
    );
    return { ...page, items: page.items.map((event) => JSON.stringify(event)) };
  }
}
