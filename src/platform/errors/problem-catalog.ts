import type { ProblemKind } from './problem-kinds.js';

type Entry = { readonly kind: ProblemKind; readonly summary: string };

/**
 * Every code that an error answer can carry. Clients branch on them, so a code is permanent. The OpenAPI document and the
 * error table of the docs are generated from this list.
 */
export const PROBLEM_CATALOG = {
  // 400
  invalid_request: {
    kind: 'invalid_request',
    summary: 'A field is missing, unknown or has a wrong value; `param` names it.',
  },
  malformed_body: {
    kind: 'invalid_request',
    summary: 'The body is not valid JSON, or is nested too deeply, or has too many members.',
  },
  malformed_url: {
    kind: 'invalid_request',
    summary: 'The URL is not well formed, or a part of it is too long.',
  },
  malformed_http: { kind: 'invalid_request', summary: 'The bytes are not well-formed HTTP.' },
  invalid_amount: {
    kind: 'invalid_request',
    summary: 'The amount is not a positive whole number within its bounds.',
  },
  invalid_size: { kind: 'invalid_request', summary: 'The model does not make images of this size.' },
  too_many_images: { kind: 'invalid_request', summary: '`n` is above what one call may ask for.' },
  invalid_image: {
    kind: 'invalid_request',
    summary: 'A reference image is broken, or not of a kind or size that the model takes. `param` names it.',
  },
  unsupported_parameter: {
    kind: 'invalid_request',
    summary: 'A known OpenAI parameter that this model cannot honour.',
  },
  content_policy_violation: {
    kind: 'invalid_request',
    summary: 'The provider moderated the request or its result. Nothing was charged.',
  },
  amount_exceeds_hold: { kind: 'invalid_request', summary: 'A capture asked for more than was held.' },
  amount_out_of_range: {
    kind: 'invalid_request',
    summary: 'The top-up is below the minimum or above the maximum.',
  },
  invalid_signature: {
    kind: 'invalid_request',
    summary: 'The webhook signature does not match the body. Nothing was stored.',
  },
  // 401
  missing_api_key: { kind: 'unauthenticated', summary: 'No `Authorization: Bearer` header was sent.' },
  invalid_api_key: { kind: 'unauthenticated', summary: 'The key is malformed or unknown.' },
  revoked_api_key: { kind: 'unauthenticated', summary: 'The key was revoked.' },
  expired_api_key: { kind: 'unauthenticated', summary: 'The key is past its expiry.' },
  invalid_metrics_token: {
    kind: 'unauthenticated',
    summary: 'The metrics of this service need its `METRICS_TOKEN`.',
  },
  byok_key_rejected: {
    kind: 'unauthenticated',
    summary:
      "The provider refuses the account's own provider key (not its API key). Nothing was charged; replace the key.",
  },
  // 402
  insufficient_credits: {
    kind: 'insufficient_credits',
    summary:
      'The wallet holds less than this costs: `limit_source` is `wallet`, and `shortfall_micros` is missing. Nothing was charged.',
  },
  key_limit_reached: {
    kind: 'insufficient_credits',
    summary:
      'The API key has a spend limit that this would pass: `limit_source` is `key`, and `shortfall_micros` is missing. Nothing was charged.',
  },
  wallet_frozen: {
    kind: 'insufficient_credits',
    summary: 'The wallet is frozen: `limit_source` is `frozen`. Nothing was charged.',
  },
  byok_upstream_insufficient_credits: {
    kind: 'insufficient_credits',
    summary:
      "The account's own account at the provider is out of credit. The wallet was not asked; nothing was charged.",
  },
  // 403
  insufficient_scope: {
    kind: 'permission_denied',
    summary: 'The key is valid but lacks the scope that this route needs.',
  },
  key_is_limited: {
    kind: 'permission_denied',
    summary:
      'The key, or a key that it descends from, has spend limits: it makes no key that can spend or make keys, and changes none.',
  },
  first_top_up_limit: {
    kind: 'permission_denied',
    summary: 'Until its first payment is a day old an account buys little; `remaining_micros` says how much.',
  },
  invalid_media_url: {
    kind: 'permission_denied',
    summary: 'The URL of a stored image is forged or has expired.',
  },
  // 404
  resource_missing: { kind: 'not_found', summary: 'There is no such object for this principal.' },
  model_not_found: { kind: 'not_found', summary: 'There is no such model.' },
  route_not_found: { kind: 'not_found', summary: 'There is no such route.' },
  // 405
  method_not_allowed: { kind: 'method_not_allowed', summary: 'The route exists but not for this method.' },
  // 408
  body_too_slow: {
    kind: 'request_timeout',
    summary: 'The body of an edit came too slowly. Nothing was charged, and the connection is closed.',
  },
  // 409
  reference_conflict: {
    kind: 'conflict',
    summary: 'The reference was used before with another body. Nothing was charged.',
  },
  hold_already_resolved: { kind: 'conflict', summary: 'The hold was captured, voided or expired before.' },
  key_has_descendants: {
    kind: 'conflict',
    summary:
      'Keys that the key has made can still spend, so a spend limit on it would not hold. Nothing was changed.',
  },
  wallet_in_debt: { kind: 'conflict', summary: 'The wallet cannot be unfrozen while it owes.' },
  generation_running: { kind: 'conflict', summary: 'The call is still running and has no images yet.' },
  idempotency_in_progress: {
    kind: 'conflict',
    summary: 'A request with this idempotency key is still running.',
  },
  provider_key_attached: {
    kind: 'conflict',
    summary: 'A provider key of the account was attached while the call began. Nothing was charged; retry.',
  },
  top_up_not_refundable: {
    kind: 'conflict',
    summary: 'The top-up is not paid, or nothing can be sent back to where it was paid from.',
  },
  refund_window_over: {
    kind: 'conflict',
    summary: 'The time in which a customer may ask for the money back is over.',
  },
  refund_exceeds_credit: {
    kind: 'conflict',
    summary: 'More than is left of the payment, or than is unspent in the wallet.',
  },
  refund_refused: {
    kind: 'conflict',
    summary: 'The payment provider refused the refund. The credit is in the wallet again.',
  },
  refund_interrupted: {
    kind: 'conflict',
    summary:
      'Other money of the account moved at the same moment. No refund was made; the credit is in the wallet.',
  },
  payment_review_resolved: {
    kind: 'conflict',
    summary: 'The payment was credited, sent back or dismissed before. Nothing was moved.',
  },
  payment_not_returnable: {
    kind: 'conflict',
    summary: 'Stripe holds no money of this payment that could be sent back. Nothing was moved.',
  },
  payment_return_refused: {
    kind: 'conflict',
    summary: 'The payment provider refused to send the payment back; it is under review again.',
  },
  webhook_endpoint_disabled: {
    kind: 'conflict',
    summary: 'The webhook endpoint is disabled, so nothing is sent to it.',
  },
  auto_top_up_untaxed: {
    kind: 'conflict',
    summary: 'Sales tax is collected on payment pages only, so nothing is charged automatically.',
  },
  saved_card_missing: {
    kind: 'conflict',
    summary: 'Auto top-up needs a card that was saved with a top-up, and there is none.',
  },
  top_up_not_open: { kind: 'conflict', summary: 'The top-up is paid, expired or failed already.' },
  // 410
  images_deleted: {
    kind: 'gone',
    summary: 'The images of the earlier call were deleted, so it cannot be replayed. Nothing was charged.',
  },
  idempotency_key_used: {
    kind: 'gone',
    summary:
      'The idempotency key charged a call before, whose answer is not kept any more: `first_generation_id` and `first_charged_micros` say which. Nothing was charged now.',
  },
  // 413, 415, 422
  payload_too_large: { kind: 'payload_too_large', summary: 'The body is larger than the route accepts.' },
  unsupported_media_type: {
    kind: 'unsupported_media_type',
    summary: 'The body is of a type that the route does not take.',
  },
  idempotency_key_reused: {
    kind: 'unprocessable',
    summary: 'The idempotency key was used with another body.',
  },
  // 429
  rate_limit_exceeded: {
    kind: 'rate_limited',
    summary: 'Too many requests, or too many images, a minute; `limit` names which. Wait for `Retry-After`.',
  },
  free_images_used_up: {
    kind: 'rate_limited',
    summary: 'The free images of this UTC day are used; they come again at midnight.',
  },
  concurrency_limit_exceeded: {
    kind: 'rate_limited',
    summary:
      'Too many requests at the same time; `limit` names whose, where it is the customer’s. Wait for `Retry-After`.',
  },
  too_many_top_ups: {
    kind: 'rate_limited',
    summary:
      'The account or the network address asked for too many top-ups within a day; `retry_at` says when.',
  },
  too_many_failed_payments: {
    kind: 'rate_limited',
    summary: 'Too many payments were refused within a day; `retry_at` says when to try again.',
  },
  too_many_confirmations: {
    kind: 'rate_limited',
    summary: 'Too many links that confirm an address were sent within a day.',
  },
  // 500
  upstream_failed: { kind: 'upstream_failed', summary: 'The provider failed. Nothing was charged; retry.' },
  internal_error: {
    kind: 'internal',
    summary: 'Something went wrong on our side; the log has it under `x-request-id`.',
  },
  // 503
  database_unavailable: {
    kind: 'unavailable',
    summary: 'The ledger cannot be reached, so spending is refused.',
  },
  engine_saturated: { kind: 'unavailable', summary: 'Too many charges are waiting. Nothing was charged.' },
  wallet_locked: {
    kind: 'unavailable',
    summary: 'Another operation holds the wallet and does not finish. Nothing was charged; retry.',
  },
  upstream_unavailable: {
    kind: 'unavailable',
    summary: 'The provider is saturated or refuses us. Nothing was charged; retry.',
  },
  media_unavailable: {
    kind: 'unavailable',
    summary: 'The store of images cannot be reached. Nothing was charged; retry.',
  },
  upstream_timeout: {
    kind: 'unavailable',
    summary: 'The provider did not answer in time; the outcome is being resolved.',
  },
  provider_key_unreadable: {
    kind: 'unavailable',
    summary:
      'A stored provider key cannot be decrypted; `missing_master_key` names the key that is gone. Nothing was charged.',
  },
  payments_unavailable: {
    kind: 'unavailable',
    summary: 'Stripe cannot be reached. Nothing was charged; retry.',
  },
  shutting_down: { kind: 'unavailable', summary: 'This process is stopping; another one answers.' },
} as const satisfies Record<string, Entry>;

export type ProblemCode = keyof typeof PROBLEM_CATALOG;
