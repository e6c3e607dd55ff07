/** What a card does when it is charged. New behaviours (3-D Secure, disputes …) become new outcomes here. */
export type CardOutcome =
  | {
      readonly kind: 'declined';
      readonly code: string;
      readonly declineCode: string;
      readonly message: string;
    }
  | { readonly kind: 'paid' };

export type TestCard = {
  readonly number: string;
  readonly brand: string;
  /** Says on the payment page what will happen. */
  readonly label: string;
  readonly outcome: CardOutcome;
};

const PAYS: TestCard = {
  number: '4242424242424242',
  brand: 'visa',
  label: 'The payment succeeds',
  outcome: { kind: 'paid' },
};

/** Stripe's own test numbers, so that what is learnt here also works against Stripe's test mode. */
export const TEST_CARDS: readonly TestCard[] = [
  PAYS,
  {
    number: '4000000000000002',
    brand: 'visa',
    label: 'The card is declined',
    outcome: {
      kind: 'declined',
      code: 'card_declined',
      declineCode: 'generic_decline',
      message: 'Your card was declined.',
    },
  },
  {
    number: '4000000000009995',
    brand: 'visa',
    label: 'The card has insufficient funds',
    outcome: {
      kind: 'declined',
      code: 'card_declined',
      declineCode: 'insufficient_funds',
      message: 'Your card has insufficient funds.',
    },
  },
];

/** Spaces and dashes do not matter. No number at all is the card that pays; null is an unknown number. */
export function testCard(number: string | undefined): TestCard | null {
  if (number === undefined || number === '') return PAYS;
  const digits = number.replaceAll(/[ -]/g, '');
  return TEST_CARDS.find((card) => card.number === digits) ?? null;
}

export function formatCardNumber(card: TestCard): string {
  return card.number.replaceAll(/(.{4})(?=.)/g, '$1 ');
}
