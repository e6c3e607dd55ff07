import { invalidRequest } from './errors.js';
import { hash, notSimulated, optional, text, type ValuesOf } from './parameter-schema.js';

const FIELD_LENGTH_MAX = 20_000;
/** Of all fields together; beyond it Stripe refuses the whole update. */
const EVIDENCE_LENGTH_MAX = 150_000;

const field = optional(text(FIELD_LENGTH_MAX));

const evidenceMembers = {
  access_activity_log: field,
  appeal: notSimulated,
  billing_address: field,
  // Its value is the id of an uploaded file, as for all members below that are refused: the simulator stores no files.
  cancellation_policy: notSimulated,
  cancellation_policy_disclosure: field,
  cancellation_rebuttal: field,
  customer_communication: notSimulated,
  customer_email_address: field,
  customer_name: field,
  customer_purchase_ip: field,
  customer_signature: notSimulated,
  duplicate_charge_documentation: notSimulated,
  duplicate_charge_explanation: field,
  duplicate_charge_id: field,
  enhanced_evidence: notSimulated,
  product_description: field,
  receipt: notSimulated,
  refund_policy: notSimulated,
  refund_policy_disclosure: field,
  refund_refusal_explanation: field,
  service_date: field,
  service_documentation: notSimulated,
  shipping_address: field,
  shipping_carrier: field,
  shipping_date: field,
  shipping_documentation: notSimulated,
  shipping_tracking_number: field,
  uncategorized_file: notSimulated,
  uncategorized_text: field,
};

export const evidenceParameter = optional(hash(evidenceMembers));
export type EvidenceValues = ValuesOf<typeof evidenceMembers>;

/** A fresh dispute's: every member there, nothing said. */
export const NO_EVIDENCE: Readonly<Record<string, unknown>> = {
  ...Object.fromEntries(Object.keys(evidenceMembers).map((name) => [name, null])),
  enhanced_evidence: {},
};

/** What was given before and now, together. Throws 400 when it is too long. */
export function mergeEvidence(
  before: Readonly<Record<string, unknown>>,
  given: EvidenceValues,
): Readonly<Record<string, unknown>> {
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  const merged = { ...before, ...Object.fromEntries(said) };
  const texts = Object.values(merged).filter((value) => typeof value === 'string');
  if (texts.reduce((length, value) => length + value.length, 0) <= EVIDENCE_LENGTH_MAX) return merged;
  throw invalidRequest(
    `The combined length of the evidence must be at most ${EVIDENCE_LENGTH_MAX} characters.`,
    {
      param: 'evidence',
    },
  );
}

/** Stripe's test values of `uncategorized_text`, which decide a dispute a moment after they are submitted. */
export const DECISIVE_EVIDENCE = {
  escalate_inquiry_evidence: 'escalated',
  losing_evidence: 'lost',
  winning_evidence: 'won',
} as const;
