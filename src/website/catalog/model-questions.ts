import type { PageFacts } from './page-facts.js';
import { centsToMicros, cents, divFloor, formatUsd, type MicroUsd } from '../../platform/common/money.js';
import { formatBps } from '../../payments/top-ups/quote.js';
import { isFree, type PricedModel } from '../../gateway/catalog/catalog-data.js';
import { code, link, type Text } from '../../platform/http/pages/document.js';

type Question = { readonly question: string; readonly answer: Text };

/** Questions that people ask before the first call. The answers use the same facts as the tables. */
export function toQuestions(facts: PageFacts, model: PricedModel): readonly Question[] {
  const { api } = facts;
  return [
    isFree(model) ? whyFree(facts, model) : howMuch(model),
    {
      question: 'What does a failed call cost?',
      answer: 'Nothing. Only delivered images are charged, and every error says what was charged.',
    },
    ...(isFree(model) ? [] : [{ question: 'Is there a fee per call?', answer: feeAnswer(facts) }]),
    ...(isFree(model)
      ? []
      : [
          {
            question: 'What happens when the credit is used up?',
            answer: [
              'The next call is refused with status 402 and ',
              code('insufficient_credits'),
              ', before anything is made. The cap is hard: credit for a hundred images makes a hundred images and never one more.',
            ],
          },
        ]),
    {
      question: 'Can I retry without paying twice?',
      answer: [
        'Yes. Send an ',
        code('Idempotency-Key'),
        ': the same call under the same key is charged once, and a retry gets the first answer.',
      ],
    },
    {
      question: 'Does it work with OpenAI’s SDKs?',
      answer: 'Yes, unchanged: set the base URL and the key. The model id goes where OpenAI’s would stand.',
    },
    ...(api.hasProviderKeys
      ? [
          {
            question: `Can I use my own ${model.maker.name} key?`,
            answer:
              'Yes. Store it once; calls of its models then go through on your own account there and cost your wallet nothing.',
          },
        ]
      : []),
  ];
}

function howMuch(model: PricedModel): Question {
  const price = model.price.amountMicros;
  const ten = centsToMicros(cents(1_000n));
  return {
    question: `What does ${model.name} cost?`,
    answer: `${formatUsd(price)} for each delivered image, whatever its size. ${formatUsd(ten)} of credit makes ${imagesFor(ten, price)} images.`,
  };
}

function whyFree({ freeCallsPerMinute, freeImagesPerDay }: PageFacts, model: PricedModel): Question {
  return {
    question: `Is ${model.name} really free?`,
    answer: `Yes: no credit is needed and no wallet is touched. An account may make ${freeCallsPerMinute} calls a minute and have ${freeImagesPerDay} images made a day.`,
  };
}

function feeAnswer({ topUp }: PageFacts): Text {
  if (topUp.feeBps === 0 && topUp.feeMinCents === 0n) return 'No, and none on top-ups either.';
  return [
    `No. A platform fee of ${formatBps(topUp.feeBps)} is taken once, when credit is bought, and never per call. `,
    link('See pricing', '/pricing'),
    '.',
  ];
}

/** The number is rounded down, because a part of an image cannot be bought. */
export function imagesFor(credit: MicroUsd, price: MicroUsd): string {
  return divFloor(credit, price).toLocaleString('en-US');
}
