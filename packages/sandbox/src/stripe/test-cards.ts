/** Why an issuer says no, in the words of Stripe's error. */
export type Decline = {
  readonly code: string;
  /** Null for the refusals that `code` alone explains. */
  readonly declineCode: string | null;
  readonly message: string;
  readonly adviceCode: 'confirm_card_data' | 'do_not_try_again' | 'try_again_later' | null;
  /** The network's own code; null when the network was never asked. */
  readonly networkDeclineCode: string | null;
};

/** What a card does when it is charged. A new behaviour is a new member here and a branch where it matters. */
export type TestCard = {
  readonly number: string;
  readonly brand: 'mastercard' | 'visa';
  /** Says on the payment page what will happen. */
  readonly label: string;
  /** Only a few instructive cards are on the page; a script may use any number. */
  readonly isOnPaymentPage?: boolean;
  /** Stripe's `pm_card_…` names of it: each use of one makes a payment method of its own. */
  readonly tokens: readonly string[];
  readonly decline?: Decline;
  /** Can be saved although every charge of it is declined. */
  readonly isAttachable?: boolean;
  /**
   * Whether the issuer asks the customer to confirm. On the payment page they can; off-session this is a decline,
   * unless (`unless_set_up`) they authenticated while the card was saved for that.
   */
  readonly authentication?: 'always' | 'unless_set_up';
  readonly afterPayment?: 'chargeback' | 'early_fraud_warning' | 'inquiry' | 'not_received';
  readonly refund?: 'fails_later' | 'succeeds_later';
};

type DeclineDetails = Pick<Decline, 'adviceCode' | 'declineCode' | 'networkDeclineCode'>;

const declined = (message: string, code: string, details: DeclineDetails): { readonly decline: Decline } => ({
  decline: { code, message, ...details },
});
const tryLater = (declineCode: string | null, networkDeclineCode: string): DeclineDetails => ({
  adviceCode: 'try_again_later',
  declineCode,
  networkDeclineCode,
});
const tryNever = (declineCode: string, networkDeclineCode: string): DeclineDetails => ({
  adviceCode: 'do_not_try_again',
  declineCode,
  networkDeclineCode,
});
const checkData = (networkDeclineCode: string): DeclineDetails => ({
  adviceCode: 'confirm_card_data',
  declineCode: null,
  networkDeclineCode,
});
/** Stripe knows most declines under two names, with and without the brand. */
const declineTokens = (what: string): readonly string[] => [
  `pm_card_visa_chargeDeclined${what}`,
  `pm_card_chargeDeclined${what}`,
];

const GENERIC_MESSAGE = 'Your card was declined.';

/** The issuer asks the customer to confirm in an off-session payment, where they cannot. The network is not asked. */
export const AUTHENTICATION_REQUIRED: Decline = {
  code: 'authentication_required',
  declineCode: 'authentication_required',
  message: 'Your card was declined. This transaction requires authentication.',
  adviceCode: null,
  networkDeclineCode: null,
};

/** The customer was asked on the payment page, and did not prove their identity. */
export const AUTHENTICATION_FAILED: Decline = {
  code: 'payment_intent_authentication_failure',
  declineCode: null,
  message:
    'We are unable to authenticate your payment method. Please choose a different payment method and try again.',
  adviceCode: null,
  networkDeclineCode: null,
};

const PAYS: TestCard = {
  number: '4242424242424242',
  brand: 'visa',
  label: 'The payment succeeds',
  isOnPaymentPage: true,
  tokens: ['pm_card_visa'],
};

/** Stripe's own test numbers and tokens: what is learnt here also works against Stripe's test mode. */
export const TEST_CARDS: readonly TestCard[] = [
  PAYS,
  {
    number: '5555555555554444',
    brand: 'mastercard',
    label: 'Another card that pays',
    tokens: ['pm_card_mastercard'],
  },
  {
    number: '4000000000000002',
    brand: 'visa',
    label: 'The card is declined',
    isOnPaymentPage: true,
    tokens: declineTokens(''),
    ...declined(GENERIC_MESSAGE, 'card_declined', tryLater('generic_decline', '01')),
  },
  {
    number: '4000000000009995',
    brand: 'visa',
    label: 'The card has insufficient funds',
    isOnPaymentPage: true,
    tokens: declineTokens('InsufficientFunds'),
    ...declined('Your card has insufficient funds.', 'card_declined', tryLater('insufficient_funds', '51')),
  },
  {
    number: '4000000000009987',
    brand: 'visa',
    label: 'The card was lost',
    tokens: declineTokens('LostCard'),
    ...declined(GENERIC_MESSAGE, 'card_declined', tryNever('lost_card', '41')),
  },
  {
    number: '4000000000009979',
    brand: 'visa',
    label: 'The card was stolen',
    tokens: declineTokens('StolenCard'),
    ...declined(GENERIC_MESSAGE, 'card_declined', tryNever('stolen_card', '43')),
  },
  {
    number: '4000000000006975',
    brand: 'visa',
    label: 'The card was used too often',
    tokens: declineTokens('VelocityLimitExceeded'),
    ...declined(
      'Your card was declined for making repeated attempts too frequently or exceeding its amount limit.',
      'card_declined',
      tryLater('card_velocity_exceeded', '65'),
    ),
  },
  {
    number: '4000000000000069',
    brand: 'visa',
    label: 'The card has expired',
    tokens: declineTokens('ExpiredCard'),
    ...declined('Your card has expired.', 'expired_card', checkData('54')),
  },
  {
    number: '4000000000000127',
    brand: 'visa',
    label: 'The security code is wrong',
    tokens: declineTokens('IncorrectCvc'),
    ...declined("Your card's security code is incorrect.", 'incorrect_cvc', checkData('N7')),
  },
  {
    number: '4000000000000119',
    brand: 'visa',
    label: 'The issuer has a problem',
    tokens: declineTokens('ProcessingError'),
    ...declined(
      'An error occurred while processing your card. Try again in a little bit.',
      'processing_error',
      tryLater(null, '96'),
    ),
  },
  {
    number: '4000000000000341',
    brand: 'visa',
    label: 'The card can be saved, and is declined whenever it is charged',
    tokens: ['pm_card_chargeCustomerFail'],
    isAttachable: true,
    ...declined(GENERIC_MESSAGE, 'card_declined', tryLater('generic_decline', '01')),
  },
  {
    number: '4000002500003155',
    brand: 'visa',
    label: 'Asks for authentication unless it was saved for later payments',
    isOnPaymentPage: true,
    tokens: ['pm_card_authenticationRequiredOnSetup'],
    authentication: 'unless_set_up',
  },
  {
    number: '4000002760003184',
    brand: 'visa',
    label: 'Asks for authentication every time',
    isOnPaymentPage: true,
    tokens: ['pm_card_authenticationRequired', 'pm_card_threeDSecure2Required'],
    authentication: 'always',
  },
  {
    number: '4000008260003178',
    brand: 'visa',
    label: 'Asks for authentication, then has insufficient funds',
    tokens: ['pm_card_authenticationRequiredChargeDeclinedInsufficientFunds'],
    authentication: 'always',
    ...declined('Your card has insufficient funds.', 'card_declined', tryLater('insufficient_funds', '51')),
  },
  {
    number: '4000000000000259',
    brand: 'visa',
    label: 'Paid, then disputed as fraudulent',
    isOnPaymentPage: true,
    tokens: ['pm_card_createDispute'],
    afterPayment: 'chargeback',
  },
  {
    number: '4000000000002685',
    brand: 'visa',
    label: 'Paid, then disputed as not received',
    tokens: ['pm_card_createDisputeProductNotReceived'],
    afterPayment: 'not_received',
  },
  {
    number: '4000000000001976',
    brand: 'visa',
    label: 'Paid, then the bank inquires',
    tokens: ['pm_card_createDisputeInquiry'],
    afterPayment: 'inquiry',
  },
  {
    number: '4000000000005423',
    brand: 'visa',
    label: 'Paid, then an early fraud warning',
    tokens: ['pm_card_createIssuerFraudRecord'],
    afterPayment: 'early_fraud_warning',
  },
  {
    number: '4000000000007726',
    brand: 'visa',
    label: 'Paid; a refund is pending for a while',
    tokens: ['pm_card_pendingRefund'],
    refund: 'succeeds_later',
  },
  {
    number: '4000000000005126',
    brand: 'visa',
    label: 'Paid; a refund succeeds, then fails',
    tokens: ['pm_card_refundFail'],
    refund: 'fails_later',
  },
];

/** Spaces and dashes do not matter. No number at all is the card that pays; null is an unknown number. */
export function testCard(number: string | undefined): TestCard | null {
  if (number === undefined || number === '') return PAYS;
  const digits = number.replaceAll(/[ -]/g, '');
  return TEST_CARDS.find((card) => card.number === digits) ?? null;
}

export function testCardOfToken(token: string): TestCard | null {
  return TEST_CARDS.find((card) => card.tokens.includes(token)) ?? null;
}

export function formatCardNumber(card: TestCard): string {
  return card.number.replaceAll(/(.{4})(?=.)/g, '$1 ');
}
