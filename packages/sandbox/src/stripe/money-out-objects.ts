import type { BalanceTransaction, Metadata } from './objects.js';

/**
 * What can happen to collected money, in the shapes of `objects.ts`: refunds, disputes, warnings and payouts.
 */
export type RefundStatus = 'failed' | 'pending' | 'succeeded';

export type Refund = {
  readonly id: string;
  readonly object: 'refund';
  readonly amount: number;
  readonly balance_transaction: string | null;
  readonly charge: string;
  readonly created: number;
  readonly currency: string;
  readonly customer: string | null;
  readonly customer_account: null;
  readonly destination_details: Readonly<Record<string, unknown>>;
  /** Stripe leaves these three out until they mean something. */
  readonly failure_balance_transaction?: string;
  readonly failure_reason?: string;
  readonly pending_reason?: 'processing';
  readonly metadata: Metadata;
  readonly payment_intent: string;
  readonly payment_method: string;
  readonly reason: string | null;
  readonly receipt_number: null;
  readonly source_transfer_reversal: null;
  readonly status: RefundStatus;
  readonly transfer_reversal: null;
};

export const DISPUTE_STATUSES = [
  'appeal_needs_response',
  'appeal_under_review',
  'lost',
  'needs_response',
  'prevented',
  'under_review',
  'warning_closed',
  'warning_needs_response',
  'warning_under_review',
  'won',
] as const;
export type DisputeStatus = (typeof DISPUTE_STATUSES)[number];

export type Dispute = {
  readonly id: string;
  readonly object: 'dispute';
  readonly amount: number;
  /** Whole objects, not ids: the withdrawal, and the reinstatement if there was one. */
  readonly balance_transactions: readonly BalanceTransaction[];
  readonly charge: string;
  readonly created: number;
  readonly currency: string;
  readonly enhanced_eligibility_types: readonly never[];
  readonly evidence: Readonly<Record<string, unknown>>;
  readonly evidence_details: {
    readonly due_by: number;
    readonly enhanced_eligibility: Readonly<Record<string, never>>;
    readonly has_evidence: boolean;
    readonly past_due: boolean;
    readonly submission_count: number;
    readonly submission_method: 'manual' | 'not_submitted';
  };
  readonly intended_submission_method: string | null;
  readonly is_charge_refundable: boolean;
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly payment_intent: string;
  readonly payment_method_details: Readonly<Record<string, unknown>>;
  readonly reason: string;
  readonly status: DisputeStatus;
};

export type EarlyFraudWarning = {
  readonly id: string;
  readonly object: 'radar.early_fraud_warning';
  readonly actionable: boolean;
  readonly charge: string;
  readonly created: number;
  readonly fraud_type: string;
  readonly livemode: boolean;
  readonly payment_intent: string;
};

export type Payout = {
  readonly id: string;
  readonly object: 'payout';
  readonly amount: number;
  readonly application_fee: null;
  readonly application_fee_amount: null;
  readonly arrival_date: number;
  readonly automatic: true;
  readonly balance_transaction: string;
  readonly created: number;
  readonly currency: string;
  readonly description: string;
  readonly destination: string;
  readonly failure_balance_transaction: string | null;
  readonly failure_code: string | null;
  readonly failure_message: string | null;
  readonly livemode: boolean;
  readonly metadata: Metadata;
  readonly method: 'standard';
  readonly original_payout: null;
  readonly payout_method: null;
  readonly reconciliation_status: 'completed' | 'in_progress';
  readonly reversed_by: null;
  readonly source_type: 'card';
  readonly statement_descriptor: null;
  readonly status: 'failed' | 'paid' | 'pending';
  readonly trace_id: null;
  readonly type: 'bank_account';
};
