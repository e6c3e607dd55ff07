import type { Readable } from 'node:stream';
import type { Reply } from '../../../platform/http/idempotency.js';
import type { GenerationAnswer } from './generation-answer.js';

const text = (description: string, example: string) => ({
  description,
  schema: { type: 'string' as const },
  example,
});

/** Documents the headers of every answer of an image call. */
export const paidAnswerHeaders = {
  'x-generation-id': text('Id of the receipt.', 'gen_01KB2H7Q0000000000000000AA'),
  'x-billing-mode': text('`wallet`; `byok`: with your own provider key, for no charge; `free`.', 'wallet'),
  'x-fell-back-from': text(
    'The id of the refused call; only present when the wallet paid because your own provider key was refused.',
    'gen_01KB2H7Q0000000000000000AB',
  ),
  'x-charged-micros': text('What the call cost, in micro-USD.', '40000'),
  'x-wallet-available-micros': text(
    'What can be spent now, in micro-USD; absent on a replay and when no wallet is involved.',
    '9960000',
  ),
  'idempotent-replayed': text(
    '`true` when an earlier answer is repeated; nothing was charged again.',
    'true',
  ),
};

/** Sets the headers of the answer and returns its body. */
export function toPaidAnswer(reply: Reply, answer: GenerationAnswer): string | Buffer | Readable {
  reply.header('content-type', 'application/json; charset=utf-8');
  reply.header('x-generation-id', answer.generationId);
  reply.header('x-billing-mode', answer.billingMode);
  if (answer.fellBackFrom !== null) reply.header('x-fell-back-from', answer.fellBackFrom);
  reply.header('x-charged-micros', answer.chargedMicros.toString());
  if (answer.availableMicros !== null) {
    reply.header('x-wallet-available-micros', answer.availableMicros.toString());
  }
  if (answer.replayed) reply.header('idempotent-replayed', 'true');
  const { body } = answer;
  if (typeof body === 'string' || Buffer.isBuffer(body)) return body;
  reply.header('content-length', String(body.bytes));
  return body.stream;
}
