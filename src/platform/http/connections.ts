import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { BlockList, isIP, isIPv6, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { MonotonicClock } from '../common/clock.js';
import { newId } from '../common/ids.js';

/**
 * A client that needs longer to send a request only keeps a socket open. An edit of 32 MiB needs 5 Mbit/s for this. Until its key is
 * recognised, nothing of a body is read beyond the socket's own buffer.
 */
export const REQUEST_TIMEOUT_MS = 60_000;
/**
 * Headers have at most 16 KiB, which is one or two packets. A connection without complete headers is closed after this time, also when
 * it has sent nothing at all. Load balancers open a connection when they have a request for it.
 */
export const HEADERS_TIMEOUT_MS = 15_000;
/** How often Node checks the two times above; its default would add up to 30 seconds to each of them. */
export const TIMEOUT_CHECK_INTERVAL_MS = 5_000;
/** Longer than the idle time of the usual load balancers (60 s), so that the load balancer closes first and never sends a request on a connection that is being closed. */
export const KEEP_ALIVE_TIMEOUT_MS = 72_000;
/** Displaced and refused connections are logged at most this often, because a flood of them must not become a flood of log lines. */
const FULL_LOGGED_EVERY_MS = 10_000;
const FULL_MESSAGES = {
  displaced: 'Idle connections are being closed, because new ones need their capacity',
  refused: 'New connections are being refused: too many are open, or too many from this address',
} as const;

/**
 * Sets all limits of the server's connections: their number, their times, peers that do not read. Also gives a body to the
 * refusals that Node would send without one. `boundBodies` limits their bodies.
 *
 * @param bounds a connection beyond them is closed at once: its client sees a reset and may try another process.
 */
export function limitConnections(
  server: Server,
  { connectionsMax, trustedProxies, clock }: Omit<ConnectionBounds, 'onFull'>,
  log: Logger,
): void {
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  const loggedAtMs = { displaced: -Infinity, refused: -Infinity };
  boundConnections(server, {
    connectionsMax,
    trustedProxies,
    clock,
    onFull: (what, address) => {
      const nowMs = performance.now();
      if (nowMs - loggedAtMs[what] < FULL_LOGGED_EVERY_MS) return;
      loggedAtMs[what] = nowMs;
      log.warn({ event: `http.connections_${what}`, connectionsMax, address }, FULL_MESSAGES[what]);
    },
  });
  new StalledPeers(server);
  trackAnswers(server);
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) =>
    answerExpectation(response),
  );
}

export type ConnectionBounds = {
  readonly connectionsMax: number;
  /** Addresses and CIDR blocks of proxies, each of which may use all connections. */
  readonly trustedProxies: readonly string[];
  readonly clock: MonotonicClock;
  /** Called with what a new connection caused, and with its address (IPv6: its /64). */
  readonly onFull?: (what: 'displaced' | 'refused', address: string) => void;
};

/**
 * Limits how many connections are open, and shares them between the addresses that they come from. A refused connection is closed
 * at once, as Node does with `maxConnections`, which considers neither addresses nor which connections are idle.
 */
export function boundConnections(server: Server, bounds: ConnectionBounds): void {
  const shares = new ConnectionShares<Socket>(bounds.connectionsMax);
  const connections = new WeakMap<Socket, SharedConnection<Socket>>();
  const trusted = toBlockList(bounds.trustedProxies);
  server.on('connection', (socket: Socket) => {
    const owner = toOwner(socket.remoteAddress ?? '', trusted);
    const { connection, displaced } = shares.admit(socket, owner, bounds.clock.monotonicMs());
    for (const idle of displaced) idle.destroy();
    if (displaced.length > 0) bounds.onFull?.('displaced', owner.name);
    if (connection === null) {
      socket.destroy();
      bounds.onFull?.('refused', owner.name);
      return;
    }
    connections.set(socket, connection);
    socket.once('close', () => shares.close(connection));
  });
  // This runs before the handler, so that a connection never counts as idle while its handler runs.
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = connections.get(request.socket);
    if (connection === undefined) return;
    shares.requestBegins(connection);
    response.once('close', () => shares.requestEnds(connection));
  });
}

function toOwner(address: string, trusted: BlockList): Owner {
  // A peer that has already disconnected has no address.
  const isTrusted = isIP(address) !== 0 && trusted.check(address, getFamily(address));
  return { name: isTrusted ? address : addressGroup(address), isTrusted };
}

/**
 * Returns the group that an address is counted under. An IPv4 address is its own group. An IPv6 address belongs to its
 * /64: the client can choose the last half freely, so counting whole addresses would limit nothing.
 */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [withoutZone = ''] = address.split('%', 1);
  const [head = '', tail] = withoutZone.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const parts = [...before, ...Array<string>(Math.max(zeros, 0)).fill('0'), ...after];
  const network = parts.slice(0, 4).map((part) => part.replace(/^0+(?=.)/, '').toLowerCase());
  return `${network.join(':')}::/64`;
}

function toBlockList(addresses: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of addresses) {
    const [address = '', bits] = entry.split('/');
    if (bits === undefined) list.addAddress(address, getFamily(address));
    else list.addSubnet(address, Number(bits), getFamily(address));
  }
  return list;
}

function getFamily(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4';
}

/** The peer whose connections are counted together. A trusted one acts for many clients, so its number of connections means nothing. */
export type Owner = { readonly name: string; readonly isTrusted: boolean };

type OwnerState<T> = {
  readonly isTrusted: boolean;
  connections: number;
  /** The connections without a request in progress, the longest idle first. */
  readonly idle: Set<SharedConnection<T>>;
};

/** Clients send a request as soon as they are connected. After this time, no client is waiting on a connection that has sent none. */
export const UNUSED_MS = 2_000;

export type SharedConnection<T> = {
  readonly item: T;
  readonly openedAtMs: number;
  readonly owner: OwnerState<T>;
  readonly name: string;
  isOpen: boolean;
  requests: number;
  /** A count, not a time: it only determines which of two connections has been idle longer. */
  idleSince: number;
};

export type Admission<T> = {
  /** Null when the new connection is refused. */
  readonly connection: SharedConnection<T> | null;
  /** Idle connections that have to be closed, also when the new one is refused. They are no longer counted. */
  readonly displaced: readonly T[];
};

/**
 * Decides which connections may be open, at most `max`, by two rules:
 *
 * - An owner gets a connection only while it has fewer than are free. A single owner can get half of them, and `n` owners that
 *   take as many as they can leave an equal share for the next one. A trusted owner gets one whenever one is free.
 * - Before a connection is refused, idle ones are closed. First those that have never sent a request, `UNUSED_MS` after they were
 *   opened, for any owner that asks; but none of a trusted owner. Then the longest idle one of the owner that has the most, but never
 *   one of an owner that has fewer than the owner that asks. A trusted owner counts as one without connections, so its idle connections
 *   are closed last, and only for a trusted owner or for one that has none.
 *
 * A connection with a request in progress is never closed.
 */
export class ConnectionShares<T> {
  private readonly owners = new Map<string, OwnerState<T>>();
  /** The connections of untrusted owners that have never sent a request, the oldest first. */
  private readonly unused = new Set<SharedConnection<T>>();
  private open = 0;
  private idleCount = 0;

  constructor(private readonly max: number) {}

  admit(item: T, { name, isTrusted }: Owner, nowMs: number): Admission<T> {
    const owner: OwnerState<T> = this.owners.get(name) ?? { isTrusted, connections: 0, idle: new Set() };
    const displaced: T[] = [];
    while (getWeight(owner) >= this.max - this.open) {
      const idle = this.findUnused(nowMs) ?? this.findDisplaceable(getWeight(owner));
      if (idle === null) return { connection: null, displaced };
      this.close(idle);
      displaced.push(idle.item);
    }
    const connection = { item, openedAtMs: nowMs, owner, name, isOpen: true, requests: 0, idleSince: 0 };
    this.owners.set(name, owner);
    owner.connections += 1;
    this.open += 1;
    this.addIdle(connection);
    if (!isTrusted) this.unused.add(connection);
    return { connection, displaced };
  }

  requestBegins(connection: SharedConnection<T>): void {
    connection.requests += 1;
    connection.owner.idle.delete(connection);
    this.unused.delete(connection);
  }

  /** Requests may be pipelined, so a connection is idle when all of them are answered. */
  requestEnds(connection: SharedConnection<T>): void {
    connection.requests -= 1;
    if (connection.requests === 0 && connection.isOpen) this.addIdle(connection);
  }

  /** Does nothing for a connection that was already displaced. */
  close(connection: SharedConnection<T>): void {
    if (!connection.isOpen) return;
    connection.isOpen = false;
    const { owner } = connection;
    owner.idle.delete(connection);
    this.unused.delete(connection);
    owner.connections -= 1;
    this.open -= 1;
    if (owner.connections === 0) this.owners.delete(connection.name);
  }

  private addIdle(connection: SharedConnection<T>): void {
    connection.idleSince = ++this.idleCount;
    connection.owner.idle.add(connection);
  }

  private findUnused(nowMs: number): SharedConnection<T> | null {
    const [oldest] = this.unused;
    return oldest !== undefined && nowMs - oldest.openedAtMs >= UNUSED_MS ? oldest : null;
  }

  /** Visits every owner, but only for a connection that would otherwise be refused. 5,000 owners take 0.1 ms, as long as accepting it. */
  private findDisplaceable(weightMin: number): SharedConnection<T> | null {
    let found: SharedConnection<T> | null = null;
    for (const owner of this.owners.values()) {
      const [idle] = owner.idle;
      if (idle === undefined || getWeight(owner) < weightMin) continue;
      if (found === null || isClosedBefore(idle, found)) found = idle;
    }
    return found;
  }
}

function getWeight({ isTrusted, connections }: OwnerState<unknown>): number {
  return isTrusted ? 0 : connections;
}

function isClosedBefore(one: SharedConnection<unknown>, other: SharedConnection<unknown>): boolean {
  const difference = getWeight(one.owner) - getWeight(other.owner);
  return difference === 0 ? one.idleSince < other.idleSince : difference > 0;
}

/** How often the connections with unsent bytes are checked. A check visits every open connection: a few thousand take less than a millisecond. */
export const PROGRESS_CHECK_INTERVAL_MS = 5_000;

/**
 * A peer that has read nothing of its answer for this many checks is not slow, but gone or hostile. It loses its connection within
 * a minute of the last byte that it read.
 *
 * Bytes that the kernel has accepted count as read by the peer. The kernel accepts more only when a third of its buffer is free again:
 * on Linux that is at most 1.4 MB (over loopback, to a proxy with a slow client), and about ten kilobytes over a slow line. A peer that
 * reads has to read that much in this time, so the time should not be shorter.
 */
export const CHECKS_WITHOUT_PROGRESS_MAX = 11;

type Progress = { readonly acceptedBytes: number; checksWithout: number };

/**
 * Disconnects peers that do not read, so that the memory of their answers is freed.
 *
 * Node's own timer of a connection (`server.timeout`) does not do this: it starts again with everything that is written or received, so
 * a peer that continues to send requests is never disconnected, and another one only after twice the time. This costs a request nothing.
 * An answer that the kernel has accepted completely uses no memory of the process, and its connection ends with `keepAliveTimeout`. A
 * call that works for a long time is not interrupted, because it has no unsent bytes.
 */
export class StalledPeers {
  /** Every open connection; null when it had no unsent bytes at the last check. */
  private readonly connections = new Map<Socket, Progress | null>();

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.connections.set(socket, null);
      socket.once('close', () => this.connections.delete(socket));
    });
    server.once('listening', () => {
      const timer = setInterval(() => this.check(), PROGRESS_CHECK_INTERVAL_MS).unref();
      server.once('close', () => clearInterval(timer));
    });
  }

  /** Counts checks, not time: after a pause of the process, no peer is disconnected for it. */
  check(): void {
    for (const [socket, progress] of this.connections) {
      if (socket.writableLength === 0) {
        if (progress !== null) this.connections.set(socket, null);
        continue;
      }
      const acceptedBytes = countAcceptedBytes(socket);
      if (progress === null || progress.acceptedBytes !== acceptedBytes) {
        this.connections.set(socket, { acceptedBytes, checksWithout: 0 });
        continue;
      }
      progress.checksWithout += 1;
      if (progress.checksWithout >= CHECKS_WITHOUT_PROGRESS_MAX) socket.destroy();
    }
  }
}

/** How much was written to the connection, and how much of it the kernel has not accepted yet. */
type NativeStream = { readonly bytesWritten: number; readonly writeQueueSize: number };

/**
 * Node's public counters change only when a write is finished, and an answer of several megabytes may be one write. Node's own timer
 * reads the same property.
 */
function countAcceptedBytes(socket: Socket): number {
  const { _handle: stream } = socket as Socket & { readonly _handle?: NativeStream | null };
  return stream == null ? 0 : stream.bytesWritten - stream.writeQueueSize;
}

/** The error of Node's parser for bytes that it cannot read. There is no request then, only a socket to answer on. */
type ClientError = Error & { readonly code?: string };

export type Answer = { readonly status: string; readonly message: string };

const HEADERS_TOO_LARGE: Answer = {
  status: '431 Request Header Fields Too Large',
  message: 'The request headers are too large.',
};
const TOO_SLOW: Answer = { status: '408 Request Timeout', message: 'The request was not sent in time.' };
const MALFORMED: Answer = { status: '400 Bad Request', message: 'The request is not well-formed HTTP.' };

/**
 * Answers bytes that are not a request, or a request that does not arrive completely. Every request gets exactly one answer: nothing is
 * written after the answer to a request whose body breaks off. Bytes that follow a complete request neither replace its answer, which
 * may say what was charged, nor are answered in the middle of it.
 */
export function answerClientError(error: ClientError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || isClosing(socket)) return;
  // A client that has sent no byte has asked for nothing, and would take an answer for the one to a later request.
  if (!socket.writable || socket.bytesRead === 0) {
    socket.destroy();
    return;
  }
  refuse(socket, chooseAnswer(error.code));
}

/** `Expect` has one valid value, `100-continue` (RFC 9110, 10.1.1). By default, Node refuses any other without a body. */
export function answerExpectation(response: ServerResponse): void {
  const { headers, body } = render('The only expectation that is met is 100-continue.');
  response.writeHead(417, headers).end(body);
}

/** Answers the request that is arriving, after the answers to earlier requests and only if it has none yet, and closes the connection. */
export function refuse(socket: Socket, { status, message }: Answer): void {
  const { headers, body } = render(message);
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  closeConnection(socket, `HTTP/1.1 ${status}\r\n${head.join('')}\r\n${body}`);
}

function render(message: string): {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
} {
  const body = JSON.stringify({
    error: { message, type: 'invalid_request_error', param: null, code: 'malformed_http' },
  });
  const headers = {
    'x-request-id': newId('request'),
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    connection: 'close',
  };
  return { headers, body };
}

function chooseAnswer(code: string | undefined): Answer {
  if (code === 'HPE_HEADER_OVERFLOW') return HEADERS_TOO_LARGE;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return TOO_SLOW;
  return MALFORMED;
}

/** The answer to the newest request of each connection. Answers are sent in the order of their requests, so it is the last one. */
const lastAnswers = new WeakMap<Socket, ServerResponse>();
const closing = new WeakSet<Socket>();

/** How long a client may take to read the last answer and to end its side. */
const LINGER_MS = 1_000;
/** How much is read and discarded of a connection that is being closed: more than any route accepts. After that, nothing more is read. */
const DISCARDED_BYTES_MAX = 64 * 1_048_576;

/** Call it before the server listens. It remembers the last answer of each connection, which `closeConnection` waits for. */
export function trackAnswers(server: Server): void {
  const track = ({ socket }: IncomingMessage, response: ServerResponse): void => {
    lastAnswers.set(socket, response);
    response.once('finish', () => {
      // An idle connection must not keep its last request in memory.
      if (response.req.complete && lastAnswers.get(socket) === response) lastAnswers.delete(socket);
    });
  };
  server.prependListener('request', track);
  server.prependListener('checkExpectation', track);
}

/** Returns undefined when it was sent and its request is complete: whatever follows belongs to another request. */
function findLastAnswer(socket: Socket): ServerResponse | undefined {
  const last = lastAnswers.get(socket);
  return last?.closed === true && last.req.complete ? undefined : last;
}

export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/**
 * Reads no further request of the connection, and closes it when every pending answer was sent completely, with nothing after it.
 * Further bytes are read and discarded: if the connection were closed with unread bytes, it would be reset, and a client that is still
 * sending could not read its answer.
 *
 * @param refusal the answer to what gets no other one, in its position: a request whose body breaks off, or bytes that are not a
 *   request. A refused request never becomes complete, and its handler is notified by the end of the connection that its client is gone.
 */
export function closeConnection(socket: Socket, refusal: string): void {
  if (closing.has(socket)) return;
  closing.add(socket);
  const last = findLastAnswer(socket);
  discardInput(socket);
  // Node calls this after an answer with `connection: close`, and would close the connection at once.
  socket.destroySoon = () => end(socket);
  if (last === undefined) return end(socket, refusal);
  const needsAnswer = (): boolean => !last.req.complete && !last.headersSent;
  const close = (): void => {
    if (needsAnswer()) return end(socket, refusal);
    if (!last.headersSent) last.shouldKeepAlive = false;
    onAnswerEnd(last, () => end(socket));
  };
  // While earlier answers are still being sent, this one has no socket. It is assigned when they are finished.
  if (needsAnswer() && last.socket === null) last.once('socket', close);
  else close();
}

/** Without its `data` listener, Node's parser receives no more bytes. */
function discardInput(socket: Socket): void {
  let bytes = 0;
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DISCARDED_BYTES_MAX) socket.pause();
  });
  socket.resume();
}

/** A connection that only this side has ended stays open until the client ends it as well, which it may never do: hence the timer. */
function end(socket: Socket, refusal = ''): void {
  if (socket.writableEnded) return;
  socket.end(refusal);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

type Ends = Set<() => void>;

/** For each connection, what is called when it ends before its answers do: one function for each of these answers. */
const endsByConnection = new WeakMap<Socket, Ends>();
/** The listeners of each pending answer. */
const listenersByAnswer = new WeakMap<ServerResponse, (() => void)[]>();

/**
 * Calls `listener` once, as soon as the answer was sent completely or its connection has ended; immediately, if that has already
 * happened. Node does not emit `close` on a response that still waits for an earlier one of the same connection, so this listens to the
 * connection as well. Node gets one listener for each answer, regardless of how many callers wait for its end.
 */
export function onAnswerEnd(response: ServerResponse, listener: () => void): void {
  const { socket } = response.req;
  if (response.closed || socket.destroyed) return listener();
  const waiting = listenersByAnswer.get(response);
  if (waiting !== undefined) {
    waiting.push(listener);
    return;
  }
  const first = [listener];
  listenersByAnswer.set(response, first);
  const ends = getEnds(socket);
  const end = (): void => {
    if (!ends.delete(end)) return;
    listenersByAnswer.delete(response);
    for (const each of first) each();
  };
  ends.add(end);
  response.once('close', end);
}

function getEnds(socket: Socket): Ends {
  const known = endsByConnection.get(socket);
  if (known !== undefined) return known;
  const made: Ends = new Set();
  endsByConnection.set(socket, made);
  socket.once('close', () => {
    for (const end of [...made]) end();
  });
  return made;
}

/** The part of Node's response that shows whether the client is gone. */
export type Answering = {
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  once(event: 'close', listener: () => void): unknown;
};

/** Aborts when the connection ends before the whole answer was sent: work that no charge depends on may then stop. */
export function clientGoneSignal(answer: Answering): AbortSignal {
  const gone = new AbortController();
  const end = (): void => {
    if (!answer.writableFinished) gone.abort();
  };
  if (answer.destroyed) end();
  else answer.once('close', end);
  return gone.signal;
}

/** `@ClientGone() gone: AbortSignal` on a controller method. */
export const ClientGone = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const { raw } = context.switchToHttp().getResponse<{ raw: Answering }>();
  return clientGoneSignal(raw);
});
