import { centsToMicros, formatUsd, micros } from '../../platform/common/money.js';
import { code, link, paragraph, type Block, type PageDocument } from '../../platform/http/pages/document.js';
import type { TopUpStatus } from './top-up.machine.js';
import type { TopUp } from './top-up.js';

type ReturnPage = Pick<PageDocument, 'path' | 'title' | 'heading' | 'lead' | 'opening' | 'refreshSeconds'>;

/** Stripe's event usually arrives within a second or two. */
const REFRESH_SECONDS = 4;

const FURTHER_LINKS: Block = paragraph([
  link('Models', '/models'),
  ', ',
  link('pricing', '/pricing'),
  ', ',
  link('API reference', '/docs'),
  '.',
]);
const BALANCE_LINKS: Block = paragraph([
  'The balance is at ',
  code('GET /v1/wallet'),
  ', every top-up at ',
  code('GET /v1/top_ups'),
  '.',
]);

/** The statuses in which the page reloads itself, because the payment is not confirmed yet. */
const UNCONFIRMED: readonly TopUpStatus[] = ['created', 'pending'];

/** What each status means to the payer. The type is total, so a new status does not compile until it is here. */
const WORDS: Readonly<Record<TopUpStatus, { readonly heading: string; readonly lead: string }>> = {
  created: {
    heading: 'The payment is being confirmed',
    lead: 'As far as we know, nothing was charged yet.',
  },
  pending: {
    heading: 'The payment is being confirmed',
    lead: 'This takes a few seconds. The page reloads itself; you can also close it.',
  },
  processing: {
    heading: 'The payment is on its way',
    lead: 'Your bank may need some days for it. The credit is in the wallet as soon as the money has arrived.',
  },
  paid: { heading: 'Payment received', lead: 'The credit is in the wallet.' },
  expired: {
    heading: 'Not paid',
    lead: 'The payment page was open for too long. Nothing was charged. Start another top-up to try again.',
  },
  failed: {
    heading: 'The payment failed',
    lead: 'Nothing was charged, and no credit was added. Start another top-up to try again.',
  },
  needs_review: {
    heading: 'The payment is being checked',
    lead: 'The payment differs from the quote. No credit was added yet; support checks the payment and credits or refunds it.',
  },
  rejected: {
    heading: 'The payment was not accepted',
    lead: 'No credit was added. What was paid was refunded or settled with support.',
  },
};

/** The page `/checkout/complete`. Without a top-up it says only what is true for every payment. */
export function completePage(topUp: TopUp | null): ReturnPage {
  if (topUp === null) {
    return {
      path: '/checkout/complete',
      title: 'Back from the payment page',
      heading: 'Back from the payment page',
      lead: 'If you have paid, the credit is in the wallet within seconds. If you have not, nothing was charged.',
      opening: [BALANCE_LINKS, FURTHER_LINKS],
    };
  }
  const { heading, lead } = WORDS[topUp.status];
  return {
    path: '/checkout/complete',
    title: heading,
    heading,
    lead,
    opening: [toFactsBlock(topUp), BALANCE_LINKS, FURTHER_LINKS],
    ...(UNCONFIRMED.includes(topUp.status) ? { refreshSeconds: REFRESH_SECONDS } : {}),
  };
}

/** The page `/checkout/canceled`. Stripe passes no session id here, so it does not name a payment. */
export function canceledPage(): ReturnPage {
  return {
    path: '/checkout/canceled',
    title: 'Payment not finished',
    heading: 'Payment not finished',
    lead: 'You left the payment page. Nothing is charged unless you pay there; it stays open for an hour.',
    opening: [BALANCE_LINKS, FURTHER_LINKS],
  };
}

function toFactsBlock({ id, status, creditMicros, feeMicros, chargeCents, taxMicros }: TopUp): Block {
  const isPaid = status === 'paid';
  const tax = isPaid && taxMicros > 0n ? [{ name: 'Tax', value: formatUsd(taxMicros) }] : [];
  const charge = centsToMicros(chargeCents);
  return {
    kind: 'facts',
    facts: [
      { name: 'Credit', value: formatUsd(creditMicros) },
      { name: 'Platform fee', value: formatUsd(feeMicros) },
      ...tax,
      isPaid
        ? { name: 'Paid', value: formatUsd(micros(charge + taxMicros)) }
        : { name: 'To pay', value: formatUsd(charge) },
      { name: 'Top-up', value: [code(id)] },
    ],
  };
}
