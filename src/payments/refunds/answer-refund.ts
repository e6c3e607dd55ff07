import type { Reply } from '../../platform/http/idempotency.js';
import { toPreviewView, toRefundView, type RefundRequest, type RefundView } from './refund.dto.js';
import type { NewRefundRequest, Refunds } from './refunds.service.js';

type Asker = Pick<NewRefundRequest, 'accountId' | 'topUpId' | 'by' | 'asked' | 'idempotencyKey'>;

/** The same answer to customers and to support; only who asks differs. */
export async function answerRefund(
  refunds: Refunds,
  asker: Asker,
  body: RefundRequest,
  reply: Reply,
  nowMs: number,
): Promise<RefundView> {
  const request = { ...asker, creditCents: body.credit_cents ?? null, reason: body.reason ?? null };
  if (body.preview === true) return toPreviewView(asker.topUpId, await refunds.preview(request), nowMs);
  const { refund, replayed } = await refunds.start(request);
  reply.header('Idempotent-Replayed', String(replayed));
  return toRefundView(refund);
}
