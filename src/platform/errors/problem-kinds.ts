/** The kind of an error, independent of HTTP. */
export type ProblemKind =
  | 'invalid_request'
  | 'unauthenticated'
  | 'insufficient_credits'
  | 'permission_denied'
  | 'not_found'
  | 'method_not_allowed'
  | 'request_timeout'
  | 'conflict'
  | 'gone'
  | 'payload_too_large'
  | 'unsupported_media_type'
  | 'unprocessable'
  | 'rate_limited'
  | 'upstream_failed'
  | 'internal'
  | 'unavailable';

/** The only map from errors to HTTP statuses. It is total by type: a new kind does not compile until it is here. */
export const PROBLEM_KINDS: Readonly<
  Record<ProblemKind, { readonly status: number; readonly type: string }>
> = {
  invalid_request: { status: 400, type: 'invalid_request_error' },
  unauthenticated: { status: 401, type: 'authentication_error' },
  insufficient_credits: { status: 402, type: 'insufficient_credits' },
  permission_denied: { status: 403, type: 'permission_error' },
  not_found: { status: 404, type: 'not_found' },
  method_not_allowed: { status: 405, type: 'invalid_request_error' },
  request_timeout: { status: 408, type: 'invalid_request_error' },
  conflict: { status: 409, type: 'conflict' },
  gone: { status: 410, type: 'invalid_request_error' },
  payload_too_large: { status: 413, type: 'invalid_request_error' },
  unsupported_media_type: { status: 415, type: 'invalid_request_error' },
  unprocessable: { status: 422, type: 'invalid_request_error' },
  rate_limited: { status: 429, type: 'rate_limit_error' },
  upstream_failed: { status: 500, type: 'server_error' },
  internal: { status: 500, type: 'server_error' },
  unavailable: { status: 503, type: 'service_unavailable' },
};
