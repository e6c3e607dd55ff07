/**
 * The chart of accounts. A ledger account's type says on which side its balance normally is: assets and expenses
 * grow by debits, liabilities and income by credits.
 */
export const LEDGER_ACCOUNTS = {
  stripe_clearing: 'asset',
  bank: 'asset',
  customer_credit: 'liability',
  customer_promo: 'liability',
  tax_payable: 'liability',
  upstream_payable: 'liability',
  unapplied_payments: 'liability',
  usage_revenue: 'income',
  platform_fee_revenue: 'income',
  breakage_revenue: 'income',
  processor_fees: 'expense',
  promotional_credit: 'expense',
  dispute_losses: 'expense',
  goodwill: 'expense',
  upstream_cost: 'expense',
} as const satisfies Record<string, 'asset' | 'liability' | 'income' | 'expense'>;

export type LedgerAccount = keyof typeof LEDGER_ACCOUNTS;

type Posting = readonly [debit: LedgerAccount, credit: LedgerAccount];

/**
 * Which pair of ledger accounts each kind of transfer may move between. The database holds the same table
 * as the constraint `transfers_posting_rule`, so that a wrong posting is refused even if this code is wrong.
 */
export const POSTING_RULES = {
  capture: [
    ['customer_promo', 'usage_revenue'],
    ['customer_credit', 'usage_revenue'],
  ],
  debit: [
    ['customer_promo', 'usage_revenue'],
    ['customer_credit', 'usage_revenue'],
  ],
  top_up: [['stripe_clearing', 'customer_credit']],
  top_up_fee: [['stripe_clearing', 'platform_fee_revenue']],
  top_up_tax: [['stripe_clearing', 'tax_payable']],
  grant: [['promotional_credit', 'customer_promo']],
  expiry: [
    ['customer_promo', 'promotional_credit'],
    ['customer_credit', 'breakage_revenue'],
  ],
  refund: [['customer_credit', 'stripe_clearing']],
  refund_fee: [['platform_fee_revenue', 'stripe_clearing']],
  refund_tax: [['tax_payable', 'stripe_clearing']],
  refund_excess: [['dispute_losses', 'stripe_clearing']],
  dispute: [['customer_credit', 'stripe_clearing']],
  dispute_fee: [['platform_fee_revenue', 'stripe_clearing']],
  dispute_tax: [['tax_payable', 'stripe_clearing']],
  dispute_excess: [['dispute_losses', 'stripe_clearing']],
  reinstatement: [['stripe_clearing', 'customer_credit']],
  reinstatement_fee: [['stripe_clearing', 'platform_fee_revenue']],
  reinstatement_tax: [['stripe_clearing', 'tax_payable']],
  reinstatement_excess: [['stripe_clearing', 'dispute_losses']],
  write_off: [['dispute_losses', 'customer_credit']],
  write_off_reversal: [['customer_credit', 'dispute_losses']],
  adjustment: [
    ['goodwill', 'customer_credit'],
    ['customer_credit', 'goodwill'],
  ],
  processor_fee: [['processor_fees', 'stripe_clearing']],
  processor_fee_return: [['stripe_clearing', 'processor_fees']],
  payout: [['bank', 'stripe_clearing']],
  payout_return: [['stripe_clearing', 'bank']],
  upstream_cost: [['upstream_cost', 'upstream_payable']],
  unapplied_payment: [['stripe_clearing', 'unapplied_payments']],
  unapplied_payment_release: [['unapplied_payments', 'stripe_clearing']],
} as const satisfies Record<string, readonly Posting[]>;

export type TransferKind = keyof typeof POSTING_RULES;

/** Kinds that only the platform's own book may hold. */
const PLATFORM_ONLY = [
  'processor_fee',
  'processor_fee_return',
  'payout',
  'payout_return',
  'upstream_cost',
  'unapplied_payment',
  'unapplied_payment_release',
] as const satisfies readonly TransferKind[];

export type PlatformKind = (typeof PLATFORM_ONLY)[number];

export const PLATFORM_KINDS: ReadonlySet<TransferKind> = new Set(PLATFORM_ONLY);

/** The two ledger accounts whose sum is a customer's posted balance. */
export type CustomerLedgerAccount = 'customer_credit' | 'customer_promo';

export function isCustomerLedgerAccount(account: string): account is CustomerLedgerAccount {
  return account === 'customer_credit' || account === 'customer_promo';
}
