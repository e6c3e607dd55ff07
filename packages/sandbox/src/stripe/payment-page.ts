import { createHash } from 'node:crypto';
import { formatCents } from '../money.js';
import { html, Html } from './html.js';
import { PAYMENT_PAGE_STYLE } from './payment-page-style.js';
import type { LineItem } from './objects.js';
import type { CheckoutSessionRecord } from './store.js';
import { withTax } from './tax.js';
import { formatCardNumber, TEST_CARDS, type TestCard } from './test-cards.js';

const STYLE_HASH = createHash('sha256').update(PAYMENT_PAGE_STYLE).digest('base64');
/** Put together here: one blank more around the style, and its hash no longer allows it. */
const STYLE_ELEMENT = new Html(`<style>${PAYMENT_PAGE_STYLE}</style>`);

/**
 * The page needs no script. `form-action` must name the success page too: browsers also check where the
 * form's answer redirects to.
 */
export function paymentPageSecurityPolicy(successUrl: string | null): string {
  const formTargets = successUrl === null ? `'self'` : `'self' ${new URL(successUrl).origin}`;
  return (
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; img-src data:; form-action ${formTargets}; base-uri 'none'; ` +
    `frame-ancestors 'none'`
  );
}

export type PayablePage = {
  readonly record: CheckoutSessionRecord;
  readonly url: string;
  /** Why the last attempt failed, for the customer. */
  readonly problem: string | null;
};

/** What is bought, for how much, and a choice of test cards. */
export function payablePage({ record, url, problem }: PayablePage): string {
  // The page shows the tax as if the customer had already entered their address, so that they see the sum before they pay it.
  const { object: session, lineItems } = withTax(record);
  const { amount_tax: taxCents } = session.total_details;
  const total = formatCents(session.amount_total);
  return document(
    `Pay ${total}`,
    html`<div class="columns">
      <section aria-labelledby="summary">
        <h1 id="summary">Pay Coffer</h1>
        <p class="amount">${total}</p>
        <table>
          <tbody>
            ${lineItems.map(lineItemRow)} ${taxCents === 0 ? null : taxRow(taxCents)}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">Total due</th>
              <td>${total}</td>
            </tr>
          </tfoot>
        </table>
      </section>
      <section aria-label="Payment">
        ${problem === null ? null : html`<p class="alert" role="alert">${problem}</p>`}
        <form method="post" action="${url}/pay">
          <fieldset>
            <legend>Test card</legend>
            ${TEST_CARDS.filter((card) => card.isOnPaymentPage === true).map(cardChoice)}
          </fieldset>
          <button type="submit">Pay ${total}</button>
        </form>
        ${cancelLink(session.cancel_url)}
        <details>
          <summary>Pay from a script</summary>
          <pre><code>curl -X POST -H 'Accept: application/json' ${url}/pay</code></pre>
          <p class="muted">
            Add <code>-d card=4000000000000002</code> for a card that is declined. This page expires at
            ${new Date(session.expires_at * 1_000).toISOString().slice(0, 16).replace('T', ' ')} UTC.
          </p>
        </details>
      </section>
    </div>`,
  );
}

/** A page without a form: paid already, expired, or never there. */
export function noticePage(title: string, text: string, link: { href: string; text: string } | null): string {
  const button = link === null ? null : html`<a class="button" href="${link.href}">${link.text}</a>`;
  return document(
    title,
    html`<section class="notice">
      <h1 class="title">${title}</h1>
      <p>${text}</p>
      ${button}
    </section>`,
  );
}

/** What a receipt or an invoice leads to. */
export function receiptPage(id: string, paidCents: number | null): string {
  return paidCents === null
    ? noticePage('Not found', 'There is no such receipt.', null)
    : noticePage('Receipt', `${formatCents(paidCents)} was paid (${id}).`, null);
}

function document(title: string, main: Html): string {
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · Sandbox</title>
        <link rel="icon" href="data:," />
        ${STYLE_ELEMENT}
      </head>
      <body>
        <header>
          <p class="banner">
            <strong>SANDBOX</strong> · a simulation of Stripe's payment page. No real money moves.
          </p>
        </header>
        <main>${main}</main>
      </body>
    </html> `;
  return page.text;
}

function lineItemRow(item: LineItem): Html {
  const unit = formatCents(Number(item.price['unit_amount']));
  const quantity = item.quantity === 1 ? null : html`<small>${item.quantity} × ${unit}</small>`;
  return html`<tr>
    <th scope="row">${item.description}${quantity}</th>
    <td>${formatCents(item.amount_subtotal)}</td>
  </tr> `;
}

function taxRow(taxCents: number): Html {
  return html`<tr>
    <th scope="row">Sales tax</th>
    <td>${formatCents(taxCents)}</td>
  </tr> `;
}

function cardChoice(card: TestCard, index: number): Html {
  return html`<label>
    <input type="radio" name="card" value="${card.number}" ${index === 0 ? new Html('checked') : null} />
    <span class="number">${formatCardNumber(card)}</span>
    <small>${card.label}</small>
  </label> `;
}

function cancelLink(cancelUrl: string | null): Html | null {
  return cancelUrl === null
    ? null
    : html`<p class="cancel"><a href="${cancelUrl}">Cancel and go back</a></p>`;
}
