import { exampleQuotes } from '../../payments/top-ups/quote.js';
import type { PageFacts } from './page-facts.js';
import { cents, centsToMicros, formatUsd, type UsdCents } from '../../platform/common/money.js';
import { formatBps, quoteTopUp, type TopUpQuote } from '../../payments/top-ups/quote.js';
import { isFree, modelPath, priceText } from '../../gateway/catalog/catalog-data.js';
import {
  link,
  paragraph,
  type PageDocument,
  type Section,
  type Text,
} from '../../platform/http/pages/document.js';
import { imagesFor } from './model-questions.js';

const MAIN_EXAMPLE = cents(10_000n);

/** Makes `/pricing`. */
export function pricingPage(facts: PageFacts): PageDocument {
  return {
    path: '/pricing',
    title: 'Pricing',
    description: 'Prices per image, and what a top-up costs, with a worked example.',
    eyebrow: [],
    heading: 'Pricing',
    lead: 'Prepaid credit, a price per delivered image, and one fee at top-up. Nothing per call, nothing per month.',
    badges: [],
    opening: [],
    sections: [perImage(facts), topUps(facts), rules(facts)],
    jsonPath: '/v1/catalog/pricing',
    area: 'pricing',
  };
}

function perImage({ models }: PageFacts): Section {
  const ten = centsToMicros(cents(1_000n));
  return {
    id: 'per-image',
    heading: 'Per image',
    blocks: [
      {
        kind: 'table',
        caption: 'Prices of the models',
        head: ['Model', 'Price', `Images from ${formatUsd(ten)} of credit`],
        rows: models.map((model): Text[] => [
          [link(model.name, modelPath(model))],
          priceText(model),
          isFree(model) ? 'needs no credit' : imagesFor(ten, model.price.amountMicros),
        ]),
      },
    ],
  };
}

/** Formats an amount as `$10,000.00`. */
const dollars = (amount: UsdCents): string =>
  formatUsd(centsToMicros(amount)).replace(/\B(?=(\d{3})+\.)/g, ',');

function topUps(facts: PageFacts): Section {
  const { topUp } = facts;
  const main = quoteTopUp(MAIN_EXAMPLE, topUp) ?? quoteTopUp(topUp.minCents, topUp);
  const floor = topUp.feeMinCents === 0n ? '' : `, at least ${dollars(topUp.feeMinCents)}`;
  return {
    id: 'top-ups',
    heading: 'Top-ups',
    blocks: [
      paragraph(
        `Credit is bought through Stripe. A platform fee of ${formatBps(topUp.feeBps)}${floor} is taken then, and only then: ` +
          `${topUp.feeMode === 'on_top' ? 'it is paid in addition to the credit' : 'it is taken out of what you pay'}. A fraction of a cent is rounded up.`,
      ),
      ...(main === null ? [] : [{ kind: 'notice', text: workedExample(main) } as const]),
      {
        kind: 'table',
        caption: 'What top-ups cost',
        head: ['You get', 'Fee', 'You pay'],
        rows: exampleQuotes(topUp).map(({ creditCents, feeCents, chargeCents }) => [
          dollars(creditCents),
          dollars(feeCents),
          dollars(chargeCents),
        ]),
      },
      paragraph(`A top-up is between ${dollars(topUp.minCents)} and ${dollars(topUp.maxCents)}.`),
    ],
  };
}

function workedExample({ creditCents, feeCents, chargeCents, feeBps, feeMode }: TopUpQuote): string {
  const [credit, fee, charge] = [creditCents, feeCents, chargeCents].map(dollars);
  return feeMode === 'on_top'
    ? `For example: ${credit} of credit, plus ${formatBps(feeBps)} (${fee}), is ${charge} to pay. The wallet then holds ${credit}.`
    : `For example: of ${charge} paid, ${formatBps(feeBps)} (${fee}) is the fee. The wallet then holds ${credit}.`;
}

function rules({ api }: PageFacts): Section {
  return {
    id: 'rules',
    heading: 'What you are charged for',
    blocks: [
      {
        kind: 'list',
        items: [
          'Delivered images, each at the price that was in force when the call began.',
          'Nothing for a call that failed, was moderated or timed out.',
          'Never more than the wallet holds: a call that it cannot pay is refused before anything is made.',
          'Free models touch no wallet.',
          ...(api.hasProviderKeys ? ['Nothing for calls over your own provider key.'] : []),
        ],
      },
    ],
  };
}
