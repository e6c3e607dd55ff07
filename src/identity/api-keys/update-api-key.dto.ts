import { IntegerField, ObjectField } from '../../platform/common/fields.js';
import type { KeyChanges } from './api-key.js';
import { SpendLimitsRequest, toLimitChanges } from './spend-limits.dto.js';

/** As long as the loss of an answer may take to notice; within it, the same prompt is rarely meant as a new picture. */
export const DUPLICATE_WINDOW_SECONDS_MAX = 30;

const SPEND_LIMITS =
  'What the key may spend, as hard as the wallet itself: running calls count with all that they have set aside. ' +
  'A limit that is left out stays as it is, null takes it away; null for the whole takes all of them away.';

const DUPLICATE_WINDOW =
  'For clients that send a call again without saying so, such as the AI SDK: for so many seconds after an answer (and while ' +
  'the call runs) the same images request with this key gets that answer again, marked `idempotent-replayed`, and is charged ' +
  'once. 0 switches it off, which is the default: then each request is a call of its own. Requests with an ' +
  "`Idempotency-Key` and those of OpenAI's SDKs, which announce their retries, are not concerned.";

/** `duplicate_window_seconds`; absent or null leaves it unchanged. */
export function DuplicateWindowField(): PropertyDecorator {
  return IntegerField({
    description: DUPLICATE_WINDOW,
    min: 0,
    max: DUPLICATE_WINDOW_SECONDS_MAX,
    optional: true,
    example: 30,
  });
}

export class UpdateApiKeyRequest {
  @ObjectField({ description: SPEND_LIMITS, type: SpendLimitsRequest, optional: true })
  declare readonly spend_limits?: SpendLimitsRequest | null;

  @DuplicateWindowField()
  declare readonly duplicate_window_seconds?: number | null;
}

export function toKeyChanges(request: UpdateApiKeyRequest): KeyChanges {
  const { spend_limits: limits, duplicate_window_seconds: seconds } = request;
  return { spendLimits: toLimitChanges(limits), duplicateWindowSeconds: seconds ?? undefined };
}
