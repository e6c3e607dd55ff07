import type { ProblemCode } from './problem-catalog.js';
import { Problem } from './problem.js';

export class InvalidRequestError extends Problem {
  readonly code: ProblemCode;
  constructor(message: string, param: string | null = null, code: ProblemCode = 'invalid_request') {
    super(message, { param });
    this.code = code;
  }
}

export class ResourceMissingError extends Problem {
  readonly code = 'resource_missing';
  constructor(what: string, id: string, param: string | null = 'id') {
    super(`No such ${what}: '${id}'.`, { param });
  }
}

export class RouteNotFoundError extends Problem {
  readonly code = 'route_not_found';
  constructor() {
    super('There is no such route. See /docs for the routes.');
  }
}

export class MethodNotAllowedError extends Problem {
  readonly code = 'method_not_allowed';
  /** @param allowedMethods the methods that the path answers; sent as `Allow`. */
  constructor(readonly allowedMethods: readonly string[]) {
    super(`This path does not answer that method. It answers ${allowedMethods.join(', ')}.`);
  }
}

export class MalformedHttpError extends Problem {
  readonly code = 'malformed_http';
}

export class MalformedUrlError extends Problem {
  readonly code = 'malformed_url';
  constructor() {
    super('The URL is not well formed, or a part of it is too long. See /docs for the routes.');
  }
}

export class PayloadTooLargeError extends Problem {
  readonly code = 'payload_too_large';
  constructor() {
    super('The request body is larger than this route accepts. Nothing was charged.');
  }
}

export class UnsupportedMediaTypeError extends Problem {
  readonly code = 'unsupported_media_type';
  /** @param types the types that the route accepts. */
  constructor(types = 'application/json') {
    super(`Send the body as ${types}.`);
  }
}

export class MalformedBodyError extends Problem {
  readonly code = 'malformed_body';
  /** @param what names what the body should be. */
  constructor(what = 'valid JSON') {
    super(`The request body is not ${what}. Nothing was charged.`);
  }
}

/** The body arrived more slowly than the memory that is reserved for it allows. */
export class BodyTooSlowError extends Problem {
  readonly code = 'body_too_slow';
  constructor() {
    super(
      'The request body came too slowly, so the connection is closed. Nothing was charged. Send it again over a faster ' +
        'connection, or send a smaller one.',
    );
  }
}

/** It may be JSON, but reading it would take too long: its depth and the number of its members are limited. */
export class BodyTooComplexError extends Problem {
  readonly code = 'malformed_body';
  /** @param how names the limit that it exceeds. */
  constructor(how: string) {
    super(`The request body ${how}. Nothing was charged.`);
  }
}

/** Any unexpected error. The message reveals nothing internal; the log has the cause under the request id. */
export class InternalError extends Problem {
  readonly code = 'internal_error';
  constructor(cause: unknown) {
    super('Something went wrong on our side. It is logged under the x-request-id of this answer.', { cause });
  }
}

/** The database refuses or is unreachable: spending is then refused, never allowed without a check. */
export class DatabaseUnavailableError extends Problem {
  readonly code = 'database_unavailable';
  constructor(
    cause: unknown,
    message = 'The ledger cannot be reached, so nothing can be spent or bought right now. Retry shortly.',
  ) {
    super(message, { cause, retryAfterSeconds: 1 });
  }
}

/** 503: other transactions wait, for a lock or for the ledger, and keep the connections that transactions may use. */
export class DatabaseBusyError extends DatabaseUnavailableError {
  constructor(cause: unknown) {
    super(
      cause,
      'Other requests keep the database busy, so this one was not finished. Nothing was charged. Send it again shortly.',
    );
  }
}

/** 503: another commit keeps the end of the audit log's chain locked. No act is committed without its record, so this one was not. */
export class AuditLogLockedError extends DatabaseUnavailableError {
  constructor(cause: unknown) {
    super(
      cause,
      'Another operation keeps the audit log locked, so this one could not be recorded. Nothing was changed or charged. Retry shortly.',
    );
  }
}

/** A newer version has migrated the database, and this process must not move money any more. */
export class ProcessOutdatedError extends DatabaseUnavailableError {
  constructor(cause: unknown) {
    super(
      cause,
      'This process runs an older version than the ledger requires, so nothing was charged or booked. Retry shortly: ' +
        'another process may answer.',
    );
  }
}
