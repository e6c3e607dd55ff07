import type { LoggerService } from '@nestjs/common';
import { destination, multistream, pino, type DestinationStream, type Logger, type StreamEntry } from 'pino';

/** Headers that are or carry secrets. Coffer logs no headers; this is a precaution. */
const SECRET_HEADERS = [
  'authorization',
  'cookie',
  'set-cookie',
  'stripe-signature',
  'x-key',
  'idempotency-key',
];

/** Only named paths are listed: a wildcard would make every request's line three times as slow to write. */
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

/** Only the service's own user may read the log. It is written line by line, so that a crash loses none. */
const LOG_FILE_MODE = 0o600;

/** Lines are written together, so that logging a request costs microseconds; they are written at the latest after this time. */
const BUFFER_BYTES = 8_192;
const FLUSH_INTERVAL_MS = 250;

export type LogOptions = {
  /** Stdout, unless a test reads the log. */
  readonly stream?: DestinationStream;
  /** Receives every line, from trace upwards, at any level. */
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

/** Nest logs every module and route at a start; `LOG_LEVEL=debug` shows them. */
const CHATTY_CONTEXTS = new Set([
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestFactory',
  'NestApplication',
]);

/** Makes Nest's `Logger` write to pino. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    const context = findContext(rest);
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
    const fields: Record<string, unknown> = { context: findContext(rest) };
    for (const part of [message, ...rest]) {
      if (part instanceof Error) fields['err'] = part;
      else if (typeof part === 'object' && part !== null) Object.assign(fields, part);
      else if (part !== message && typeof part === 'string' && part.includes('\n')) fields['stack'] = part;
    }
    this.logger[level](fields, toText(message, rest));
  }
}

function findContext(rest: readonly unknown[]): string | undefined {
  const last = rest.at(-1);
  // A stack trace has lines; the name of a class has none.
  return typeof last === 'string' && !last.includes('\n') ? last : undefined;
}

/** After an object of fields, the message is the text that follows it; the last text is the context. */
function toText(message: unknown, rest: readonly unknown[]): string | undefined {
  if (typeof message === 'string') return message;
  if (message instanceof Error) return message.message;
  const [text] = rest.slice(0, -1);
  return typeof text === 'string' ? text : undefined;
}
