import { currentBalanceTransaction } from './balance-availability.js';
import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import {
  DECISIVE_EVIDENCE,
  evidenceParameter,
  mergeEvidence,
  type EvidenceValues,
} from './dispute-evidence.js';
import { announce, moveDispute, putDispute } from './dispute-lifecycle.js';
import { DISPUTE_STEPS, isInquiry } from './dispute.machine.js';
import { invalidRequest, resourceMissing } from './errors.js';
import { ofPayment, page, paymentListParameters } from './lists.js';
import type { Dispute, DisputeStatus } from './money-out-objects.js';
import { operation, type Operation } from './operation.js';
import {
  boolean,
  changedMetadata,
  choice,
  emptyable,
  metadataChange,
  optional,
  type ValuesOf,
} from './parameter-schema.js';
import { planOutcome } from './planned-outcomes.js';

const updateParameters = {
  evidence: evidenceParameter,
  intended_submission_method: optional(
    choice(['manual', 'prefer_manual'], ['prefer_smart_disputes', 'smart_disputes']),
  ),
  metadata: optional(emptyable(metadataChange())),
  submit: optional(boolean()),
};

/** Where evidence leads that is submitted in a status. */
const SUBMITTED: Partial<Record<DisputeStatus, DisputeStatus>> = {
  appeal_needs_response: 'appeal_under_review',
  needs_response: 'under_review',
  warning_needs_response: 'warning_under_review',
};

function requireDispute(context: SandboxContext, id: string): Dispute {
  const dispute = context.store.disputes.get(id);
  if (dispute === undefined) throw resourceMissing('dispute', id, 'dispute', 404);
  return dispute;
}

/** The transactions inside become available as time passes. */
function current(context: SandboxContext, dispute: Dispute): Dispute {
  const transactions = dispute.balance_transactions;
  return {
    ...dispute,
    balance_transactions: transactions.map((transaction) => currentBalanceTransaction(context, transaction)),
  };
}

function update(
  context: SandboxContext,
  id: string,
  params: ValuesOf<typeof updateParameters>,
  cause: Cause,
): Dispute {
  const dispute = requireDispute(context, id);
  assertOpen(dispute);
  const { evidence: given, intended_submission_method: method, metadata: newMetadata } = params;
  const staged = putDispute(context, dispute, {
    ...(given === undefined ? {} : stage(dispute, given)),
    ...(method === undefined ? {} : { intended_submission_method: method }),
    ...(newMetadata === undefined ? {} : { metadata: changedMetadata(dispute.metadata, newMetadata) }),
  });
  // Stripe's default is to submit; with nothing to submit there is nothing to be late for.
  const isSubmitted = params.submit ?? given !== undefined;
  return isSubmitted
    ? submit(context, staged, cause)
    : announce(context, staged, changesOf(dispute, staged), cause);
}

function stage(dispute: Dispute, given: EvidenceValues): Pick<Dispute, 'evidence' | 'evidence_details'> {
  return {
    evidence: mergeEvidence(dispute.evidence, given),
    evidence_details: { ...dispute.evidence_details, has_evidence: true },
  };
}

function changesOf(before: Dispute, after: Dispute): Readonly<Record<string, unknown>> {
  const { evidence, evidence_details: details, metadata: previous } = before;
  return {
    ...(after.evidence === evidence ? {} : { evidence, evidence_details: details }),
    ...(after.metadata === previous ? {} : { metadata: previous }),
  };
}

function submit(context: SandboxContext, dispute: Dispute, cause: Cause): Dispute {
  const { evidence_details: details } = dispute;
  const submitted = putDispute(context, dispute, {
    evidence_details: {
      ...details,
      past_due: nowSeconds(context) > details.due_by,
      submission_count: details.submission_count + 1,
      submission_method: 'manual',
    },
  });
  const next = SUBMITTED[dispute.status];
  const reviewed =
    next === undefined
      ? announce(context, submitted, { evidence_details: details }, cause)
      : moveDispute(context, submitted, next, cause);
  planDecision(context, reviewed);
  return reviewed;
}

function planDecision(context: SandboxContext, dispute: Dispute): void {
  const said = String(dispute.evidence['uncategorized_text']);
  if (!Object.hasOwn(DECISIVE_EVIDENCE, said)) return;
  const outcome = DECISIVE_EVIDENCE[said as keyof typeof DECISIVE_EVIDENCE];
  if (!isInquiry(dispute.status)) {
    if (outcome !== 'escalated') planOutcome(context, dispute.id, outcome);
  } else if (outcome === 'escalated') planOutcome(context, dispute.id, outcome);
  else planOutcome(context, dispute.id, 'warning_closed');
}

function assertOpen(dispute: Dispute): void {
  if (['lost', 'prevented', 'warning_closed', 'won'].includes(dispute.status)) {
    throw invalidRequest('This dispute is already closed');
  }
}

/** Gives up: `lost`, or `warning_closed` when it was only an inquiry. */
function giveUp(context: SandboxContext, id: string, cause: Cause): Dispute {
  const dispute = requireDispute(context, id);
  assertOpen(dispute);
  const lost: DisputeStatus = DISPUTE_STEPS[dispute.status].includes('lost') ? 'lost' : 'warning_closed';
  return moveDispute(context, dispute, lost, cause);
}

export const disputeOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/disputes/:id',
    parameters: {},
    run: (context, _params, { id }) => current(context, requireDispute(context, id)),
  }),
  operation({
    method: 'POST',
    path: '/v1/disputes/:id',
    parameters: updateParameters,
    run: (context, params, { id, cause }) => current(context, update(context, id, params, cause)),
  }),
  operation({
    method: 'POST',
    path: '/v1/disputes/:id/close',
    parameters: {},
    run: (context, _params, { id, cause }) => current(context, giveUp(context, id, cause)),
  }),
  operation({
    method: 'GET',
    path: '/v1/disputes',
    parameters: paymentListParameters,
    run: (context, params) => {
      const wanted = ofPayment(context.store.disputes.newestFirst(), params);
      const found = page(wanted, params, '/v1/disputes', 'dispute');
      return { ...found, data: found.data.map((dispute) => current(context, dispute as Dispute)) };
    },
  }),
];
