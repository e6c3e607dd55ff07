/**
 * The acts that are recorded, permanently under the same word: what was done, to what. The first half names the object.
 * Spending (images, debits, holds, top-ups) is not among them, because the ledger records it.
 */
export const AUDIT_ACTS = [
  'account.created',
  'account.images_deleted',
  'account.limits_changed',
  'account.read',
  'alerts.changed',
  'api_key.created',
  'api_key.duplicate_window_changed',
  'api_key.limits_changed',
  'api_key.revoked',
  'auto_top_up.changed',
  'auto_top_up.switched_off',
  'catalog.published',
  'credit.adjusted',
  'credit.granted',
  'dispute.written_off',
  'generation.images_deleted',
  'ledger.exported',
  'operator_key.created',
  'operator_key.revoked',
  'payment_review.dismissed',
  'payment_review.returned',
  'provider_key.attached',
  'provider_key.removed',
  'refund.requested',
  'refund.written_off',
  'report.read',
  'saved_card.removed',
  'stripe_balance_transaction.settled',
  'wallet.frozen',
  'wallet.unfrozen',
  'webhook_endpoint.changed',
  'webhook_endpoint.created',
  'webhook_endpoint.deleted',
  'webhook_endpoint.secret_rotated',
] as const;

export type AuditAct = (typeof AUDIT_ACTS)[number];
