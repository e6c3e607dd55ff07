import { describe, expect, it } from '@jest/globals';
import type { CheckoutSession } from '../../src/payments/stripe/payment-gateway.js';
import { judge } from '../../src/payments/settlement/top-up-settlement.rules.js';
import { aPaidSession, aTopUp } from '../support/payments/top-up-samples.js';

const TEST_MODE = false;
type Changes = NonNullable<Parameters<typeof aPaidSession>[0]>;

describe('what a checkout session means for its top-up', () => {
  it('credits a session that is paid and agrees with the quote in everything', () => {
    expect(judge(aTopUp(), aPaidSession(), TEST_MODE)).toEqual({ kind: 'credit' });
  });

  it('credits a payment whose top-up was given up before: the money came', () => {
    for (const status of ['created', 'expired', 'failed', 'needs_review'] as const) {
      const topUp = aTopUp({ status, checkoutSessionId: status === 'created' ? null : 'cs_test_1' });
      expect(judge(topUp, aPaidSession(), TEST_MODE)).toEqual({ kind: 'credit' });
    }
  });

  const contradictory: readonly (readonly [string, Changes])[] = [
    ['amount_subtotal is $10.49', { amountSubtotalCents: 1_049n }],
    ['amount_subtotal is $10.51', { amountSubtotalCents: 1_051n }],
    ['amount_subtotal is missing', { amountSubtotalCents: null }],
    ['amount_total is $10.00', { amountTotalCents: 1_000n }],
    ['amount_total is missing', { amountTotalCents: null }],
    ['currency is eur', { currency: 'eur' }],
    ['currency is null', { currency: null }],
    ['currency is USD', { currency: 'USD' }],
    ['livemode is true', { livemode: true }],
    ['client_reference_id is null', { clientReferenceId: null }],
    ['client_reference_id is tu_other', { clientReferenceId: 'tu_other' }],
    ['metadata names undefined', { metadata: {} }],
    ['metadata names tu_other', { metadata: { top_up_id: 'tu_other' } }],
    ['it is cs_test_2, not cs_test_1', { id: 'cs_test_2' }],
    ['payment_status is no_payment_required', { paymentStatus: 'no_payment_required' }],
    ['payment_status is refunded', { paymentStatus: 'refunded' }],
    ['status is null', { status: null }],
    ['payment_status is paid and status is open', { status: 'open' }],
    ['payment_status is paid and status is expired', { status: 'expired' }],
  ];
  it.each(contradictory)('credits nothing when %s', (contradiction, changes) => {
    const verdict = judge(aTopUp(), aPaidSession(changes), TEST_MODE);
    expect(verdict.kind).toBe('review');
    expect(verdict.kind === 'review' && verdict.contradictions).toContain(contradiction);
  });

  describe('with sales tax', () => {
    const taxed = { automaticTax: true, amountTaxCents: 87n, amountTotalCents: 1_137n } as const;
    const complete = { ...taxed, automaticTaxStatus: 'complete' } as const;

    it('credits a session whose total is the quote and its tax', () => {
      expect(judge(aTopUp({ automaticTax: true }), aPaidSession(complete), TEST_MODE)).toEqual({
        kind: 'credit',
      });
    });

    it.each<[string, boolean, Changes]>([
      ['a total that is not the quote and its tax', true, { ...complete, amountTotalCents: 1_136n }],
      ['a negative tax', true, { ...complete, amountTaxCents: -87n, amountTotalCents: 963n }],
      ['a tax that is missing from the total', true, { ...complete, amountTotalCents: 1_050n }],
      ['a tax that Stripe could not compute', true, { ...taxed, automaticTaxStatus: 'failed' }],
      ['another subtotal', true, { ...complete, amountSubtotalCents: 1_049n }],
      ['tax that was not asked for', false, complete],
      ['no tax where it was asked for', true, {}],
    ])('credits nothing for %s', (_what, automaticTax, changes) => {
      expect(judge(aTopUp({ automaticTax }), aPaidSession(changes), TEST_MODE).kind).toBe('review');
    });

    it('waits for a page whose tax is not known yet', () => {
      const open = {
        status: 'open',
        paymentStatus: 'unpaid',
        automaticTaxStatus: 'requires_location_inputs',
      };
      expect(
        judge(aTopUp({ automaticTax: true }), aPaidSession({ ...open, automaticTax: true }), TEST_MODE),
      ).toEqual({
        kind: 'move',
        to: 'pending',
      });
    });
  });

  it('credits nothing of test mode to a top-up that meant real money, and the reverse', () => {
    expect(judge(aTopUp({ livemode: true }), aPaidSession(), true).kind).toBe('review');
    expect(judge(aTopUp({ livemode: true }), aPaidSession(), false).kind).toBe('review');
    expect(judge(aTopUp(), aPaidSession({ livemode: true }), true).kind).toBe('review');
    expect(judge(aTopUp({ livemode: true }), aPaidSession({ livemode: true }), true).kind).toBe('credit');
  });

  it.each<[string, Partial<CheckoutSession>, object]>([
    ['open is payable', { status: 'open', paymentStatus: 'unpaid' }, { kind: 'move', to: 'pending' }],
    [
      'open after a declined card is payable',
      { status: 'open', paymentStatus: 'unpaid', paymentIntentStatus: 'requires_payment_method' },
      { kind: 'move', to: 'pending' },
    ],
    ['expired is over', { status: 'expired', paymentStatus: 'unpaid' }, { kind: 'move', to: 'expired' }],
    [
      'complete and unpaid waits for the money',
      { paymentStatus: 'unpaid', paymentIntentStatus: 'processing' },
      { kind: 'move', to: 'processing' },
    ],
    [
      'complete and unpaid waits, whatever new status Stripe invents for the intent',
      { paymentStatus: 'unpaid', paymentIntentStatus: 'requires_something_new' },
      { kind: 'move', to: 'processing' },
    ],
    [
      'complete, and the delayed payment failed',
      { paymentStatus: 'unpaid', paymentIntentStatus: 'requires_payment_method' },
      { kind: 'move', to: 'failed', failure: 'payment_failed' },
    ],
    [
      'complete, and the delayed payment was canceled',
      { paymentStatus: 'unpaid', paymentIntentStatus: 'canceled' },
      { kind: 'move', to: 'failed', failure: 'payment_failed' },
    ],
  ])('%s', (_what, changes, verdict) => {
    expect(judge(aTopUp(), aPaidSession(changes), TEST_MODE)).toEqual(verdict);
  });
});
