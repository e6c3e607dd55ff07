import type { LoggerService } from '@nestjs/common';
import { destination, multistream, pino, type DestinationStream, type Logger, type StreamEntry } from 'pino';

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

/** Nobody but the service's own user reads its log. Written line by line, so that a crash takes none of them. */
const LOG_FILE_MODE = 0o600;

/** Lines are written together, so that logging a request costs microseconds; at most this late. */
const BUFFER_BYTES = 8_192;
const FLUSH_INTERVAL_MS = 250;

export type LogOptions = {
  /** Stdout, unless a test reads along. */
  readonly stream?: DestinationStream;
  /** Gets every line, from trace upwards, whatever the level. */
  readonly traceFile?: string | null;
};

/** JSON lines: time, level, message, and the fields of the event. */
export function createLogger(level: string, { stream, traceFile = null }: LogOptions = {}): Logger {
  if (traceFile === null) return pinoOver(level, stream ?? standardOutput());
  const trace = { level: 'trace', stream: destination({ dest: traceFile, mode: LOG_FILE_MODE, sync: true }) };
  const usual = level === 'silent' ? [] : [{ level, stream: stream ?? standardOutput() }];
  return pinoOver('trace', multistream([...usual, trace] as StreamEntry[]));
}

function pinoOver(level: string, stream: DestinationStream): Logger {
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
