import pg, { type Connection, type PoolClient, type QueryResult, type Submittable } from 'pg';
import type { DataSource } from 'typeorm';

/** It is planned once for each connection, under its name; the name has at most 63 bytes and always the same text. */
export type Statement = { readonly name: string; readonly text: string };

/** A bound value; arrays feed `unnest`, one array for each column. */
export type SqlValue = readonly (string | number | null)[] | string | number | null;

export type StatementCall = { readonly statement: Statement; readonly values?: readonly SqlValue[] };

type Row = Record<string, unknown>;

type Message = Statement & { readonly values: readonly (string | null)[] };

/** The columns of a prepared statement, as the connection has described them. */
type Columns = readonly { readonly name: string; readonly parse: (text: string) => unknown }[];

const NO_COLUMNS: Columns = [];

/** The message of `pg` for a query that was not answered within its `query_timeout`. */
const READ_TIMEOUT = 'Query read timeout';

export function isReadTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === READ_TIMEOUT;
}

const preparedOn = new WeakMap<Connection, Map<string, Columns>>();

/** The connection was silent for too long. Whether the packet was run is unknown, and the connection is closed. */
export class PacketTimeoutError extends Error {
  readonly code = 'ETIMEDOUT';
  constructor() {
    super('PostgreSQL did not answer a packet in time; its connection is closed.');
  }
}

/**
 * Sends all statements in one packet and waits once. The server runs them in the given order, each with its own
 * snapshot, and answers them together; after one that fails, it runs none of the later ones.
 * Rejects with that failure. A tx that was begun stays open: the caller ends it. Without a BEGIN, all of them are
 * one tx, which is committed or rolled back with the last.
 *
 * `pg` alone either waits for each statement or, with its option `pipeline`, asks for an answer to each.
 * Every answer wakes this process up, which costs more than most of these statements do.
 *
 * @param deadlineMs how long the answer may take; by default, the pool's `query_timeout`. The server's own limits do not
 *   help against a server process that hangs or a network that drops packets. After it, rejects with
 *   `PacketTimeoutError`.
 */
export function runTogether(
  client: PoolClient,
  calls: readonly StatementCall[],
  deadlineMs?: number,
): Promise<Row[][]> {
  return new Promise((resolve, reject) => {
    // All messages are built before any is sent: a value that has no text must not leave half a packet on the wire.
    const messages = calls.map(({ statement, values = [] }) => ({
      ...statement,
      values: values.map(toText),
    }));
    const close = (): void => void (client as PoolClient & Pick<pg.Client, 'end'>).end();
    const pipeline = new Pipeline(messages, { resolve, reject, close });
    if (deadlineMs !== undefined) Watch.on(client).begin(pipeline, deadlineMs);
    client.query(pipeline);
  });
}

/** Runs one statement by itself, on a connection of the pool. */
export async function runStatement<R = Row>(
  dataSource: DataSource,
  statement: Statement,
  values: readonly SqlValue[],
): Promise<R[]> {
  const runner = dataSource.createQueryRunner();
  try {
    const [rows = []] = await runTogether((await runner.connect()) as PoolClient, [{ statement, values }]);
    return rows as R[];
  } finally {
    await runner.release();
  }
}

/** The object that `pg` calls while it reads the answers; see its `Query`, the one other class of this kind. */
class Pipeline implements Submittable {
  /** `pg` sets it where the pool has a `query_timeout`; calling it at the end stops that timer. */
  callback: (() => void) | undefined;
  isOver = false;
  private readonly results: Row[][];
  private prepared = new Map<string, Columns>();
  private position = 0;
  private described: Columns | null = null;

  constructor(
    private readonly messages: readonly Message[],
    private readonly outcome: {
      readonly resolve: (results: Row[][]) => void;
      readonly reject: (reason: unknown) => void;
      /** Closes the connection. */
      readonly close: () => void;
    },
  ) {
    this.results = messages.map(() => []);
  }

  submit(connection: Connection): void {
    this.prepared = preparedOn.get(connection) ?? new Map<string, Columns>();
    preparedOn.set(connection, this.prepared);
    const wire = connection as unknown as Wire;
    wire.stream.cork();
    for (const { name, text, values } of this.messages) {
      const isPrepared = this.prepared.has(name);
      if (!isPrepared) {
        // It may already exist, from a call that failed after preparing it; closing one that does not exist is no error.
        wire.close({ type: 'S', name });
        wire.parse({ name, text, types: [] });
      }
      wire.bind({ portal: '', statement: name, values });
      if (!isPrepared) wire.describe({ type: 'P', name: '' });
      wire.execute({ portal: '', rows: 0 });
    }
    wire.sync();
    wire.stream.uncork();
  }

  handleRowDescription({
    fields,
  }: {
    readonly fields: readonly { name: string; dataTypeID: number }[];
  }): void {
    this.described = fields.map(({ name, dataTypeID }) => ({
      name,
      parse: pg.types.getTypeParser(dataTypeID, 'text') as (text: string) => unknown,
    }));
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    const row: Row = {};
    const columns = this.columns();
    for (let index = 0; index < columns.length; index += 1) {
      const { name, parse } = columns[index] as Columns[number];
      const text = fields[index] ?? null;
      row[name] = text === null ? null : parse(text);
    }
    this.results[this.position]?.push(row);
  }

  handleCommandComplete(): void {
    this.prepared.set(this.currentName(), this.columns());
    this.described = null;
    this.position += 1;
  }

  handleError(error: unknown): void {
    if (isReadTimeout(error)) return this.expire();
    this.prepared.delete(this.currentName());
    this.end();
    this.outcome.reject(error);
  }

  handleReadyForQuery(): void {
    this.end();
    this.outcome.resolve(this.results);
  }

  private end(): void {
    this.isOver = true;
    this.callback?.();
  }

  /**
   * After a pause of this process, the timer fires first although the answer may already be in the socket, which is read before
   * the next iteration of the event loop. If there is none, the connection cannot be used again, because the answer could still come.
   */
  expire(): void {
    setImmediate(() => {
      if (this.isOver) return;
      this.end();
      this.outcome.close();
      this.outcome.reject(new PacketTimeoutError());
    });
  }

  private columns(): Columns {
    return this.described ?? this.prepared.get(this.currentName()) ?? NO_COLUMNS;
  }

  private currentName(): string {
    return this.messages[this.position]?.name ?? '';
  }
}

/**
 * The deadline of the packet that a connection is waiting for. Its timer is started for the first packet and, when it fires, checks
 * the packet that is waiting at that time: a timer for each packet would cost more than it protects.
 */
class Watch {
  private static readonly watches = new WeakMap<PoolClient, Watch>();
  private packet: Pipeline | null = null;
  private endsAtMs = 0;
  private timer: NodeJS.Timeout | null = null;
  private timerEndsAtMs = 0;

  static on(client: PoolClient): Watch {
    const watch = Watch.watches.get(client) ?? new Watch();
    Watch.watches.set(client, watch);
    return watch;
  }

  begin(packet: Pipeline, deadlineMs: number): void {
    this.packet = packet;
    this.endsAtMs = performance.now() + deadlineMs;
    if (this.timer !== null && this.timerEndsAtMs <= this.endsAtMs) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.start(deadlineMs);
  }

  private start(ms: number): void {
    this.timerEndsAtMs = performance.now() + ms;
    // The connection itself keeps the process alive.
    this.timer = setTimeout(() => this.check(), ms).unref();
  }

  private check(): void {
    this.timer = null;
    const { packet } = this;
    if (packet === null || packet.isOver) {
      this.packet = null;
      return;
    }
    const leftMs = this.endsAtMs - performance.now();
    if (leftMs > 0) this.start(Math.ceil(leftMs));
    else packet.expire();
  }
}

function toText(value: SqlValue): string | null {
  if (value === null || typeof value === 'string') return value;
  return typeof value === 'number' ? value.toString() : toArrayText(value);
}

const NEEDS_ESCAPE = /["\\]/;

/**
 * Formats an array as Postgres does. The function of `pg` checks each element's type and runs two replacements on
 * each: on the arrays of a batch that took a tenth of the time that the wallet store takes.
 */
function toArrayText(elements: readonly (string | number | null)[]): string {
  let text = '{';
  for (let index = 0; index < elements.length; index += 1) {
    if (index > 0) text += ',';
    const element = elements[index];
    if (typeof element === 'string') {
      text += NEEDS_ESCAPE.test(element) ? `"${element.replace(/["\\]/g, '\\$&')}"` : `"${element}"`;
    } else {
      text += element ?? 'NULL';
    }
  }
  return `${text}}`;
}

/** The `Connection` of `pg`, whose published types describe an older version. */
type Wire = {
  readonly stream: { cork(): void; uncork(): void };
  close(message: { type: 'S'; name: string }): void;
  parse(message: { name: string; text: string; types: readonly number[] }): void;
  bind(message: { portal: string; statement: string; values: readonly (string | null)[] }): void;
  describe(message: { type: 'P'; name: string }): void;
  execute(message: { portal: string; rows: number }): void;
  sync(): void;
};

/** Many times the duration of a packet, and still short enough that a call that meets one silent connection ends within a second. */
const DEADLINE_MS_MIN = 750;
/** A server that needs longer than this for a packet is unusable. */
const DEADLINE_MS_MAX = 6_000;

/**
 * How long the answer to a packet may take before the connection is closed and the batch is repeated on another one.
 *
 * A server process that hangs and a server that is slow cannot be distinguished. Each missed deadline doubles the next
 * ones, so a slow server gets the time that it needs instead of a new connection for each batch; packets that are answered
 * well in time shorten the deadline again.
 */
export class PacketDeadline {
  ms: number;

  constructor(private readonly leastMs = DEADLINE_MS_MIN) {
    this.ms = leastMs;
  }

  missed(): void {
    this.ms = Math.min(this.ms * 2, DEADLINE_MS_MAX);
  }

  met(tookMs: number): void {
    if (this.ms > this.leastMs && tookMs < this.ms / 4) this.ms = Math.max(this.ms / 2, this.leastMs);
  }
}

type Query = (...query: readonly unknown[]) => unknown;

/**
 * A connection that is closed when a query on it was not answered within its `query_timeout`. `pg` by itself abandons only the
 * query: the connection returns to the pool, and the next query then waits for one that may never end.
 */
export class BoundedClient extends pg.Client {
  override readonly query = ((...query: readonly unknown[]): unknown => {
    const answer = (pg.Client.prototype.query as Query).call(this, ...query);
    if (answer instanceof Promise) (answer as Promise<QueryResult>).catch(this.closeIfSilent);
    return answer;
  }) as pg.Client['query'];

  private readonly closeIfSilent = (error: unknown): void => {
    if (isReadTimeout(error)) void this.end();
  };
}
