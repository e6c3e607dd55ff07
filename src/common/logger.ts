import type { LoggerService } from '@nestjs/common';
import { destination, type DestinationStream, type Logger, pino } from 'pino';

/** Headers that are or carry secrets. Nothing of ours logs headers; this is for the day that something does. */
const SECRET_HEADERS = [
  'authorization',
  'cookie',
  'set-cookie',
  'stripe-signature',
  'x-key',
  'idempotency-key',
];

/** Named places only: a wildcard would make every request's line three times as slow to write. */
const HEADER_HOLDERS = [
  'headers',
  'req.headers',
  'res.headers',
  'err.headers',
  'err.config.headers',
  'err.request.headers',
];

const REDACTED_PATHS = SECRET_HEADERS.flatMap((name) =>
  HEADER_HOLDERS.map((holder) => `${holder}["${name}"]`),
);

/** Lines are written together, so that logging a request costs microseconds; at most this late. */
const BUFFER_BYTES = 8_192;
const FLUSH_INTERVAL_MS = 250;

/** JSON lines: time, level, message, and the fields of the event. On stdout, unless a test reads along. */
export function createLogger(level: string, stream: DestinationStream = standardOutput()): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    },
    stream,
  );
}

function standardOutput(): DestinationStream {
  return destination({ fd: 1, sync: false, minLength: BUFFER_BYTES, periodicFlush: FLUSH_INTERVAL_MS });
}

/** Nest announces every module and route at start; who needs that asks for `LOG_LEVEL=debug`. */
const CHATTY_CONTEXTS = new Set([
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestFactory',
  'NestApplication',
]);

/** Lets whoever injects Nest's `Logger` write to pino. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    const context = contextOf(rest);
    this.write(CHATTY_CONTEXTS.has(context ?? '') ? 'debug' : 'info', message, rest);
  }
  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }
  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }
  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }
  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }
  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  /** Nest passes `(message, ...further, context)`, and `(message, stack, context)` for errors. */
  private write(
    level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal',
    message: unknown,
    rest: unknown[],
  ): void {
    const fields: Record<string, unknown> = { context: contextOf(rest) };
    for (const part of [message, ...rest]) {
      if (part instanceof Error) fields['err'] = part;
      else if (typeof part === 'object' && part !== null) Object.assign(fields, part);
      else if (part !== message && typeof part === 'string' && part.includes('\n')) fields['stack'] = part;
    }
    this.logger[level](fields, textOf(message));
  }
}

function contextOf(rest: readonly unknown[]): string | undefined {
  const last = rest.at(-1);
  // A stack trace has lines; the name of a class has none.
  return typeof last === 'string' && !last.includes('\n') ? last : undefined;
}

function textOf(message: unknown): string | undefined {
  if (typeof message === 'string') return message;
  return message instanceof Error ? message.message : undefined;
}
