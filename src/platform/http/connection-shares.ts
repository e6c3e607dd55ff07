/** Whose connections are counted together. A trusted one speaks for many clients, so its number of connections says nothing. */
export type Owner = { readonly name: string; readonly isTrusted: boolean };

type OwnerState<T> = {
  readonly isTrusted: boolean;
  connections: number;
  /** Those without a request under way, the longest idle first. */
  readonly idle: Set<SharedConnection<T>>;
};

/** Clients send their request as they connect. A connection that has brought none by then is none of a client that waits for us. */
export const UNUSED_MS = 2_000;

export type SharedConnection<T> = {
  readonly item: T;
  readonly openedAtMs: number;
  readonly owner: OwnerState<T>;
  readonly name: string;
  isOpen: boolean;
  requests: number;
  /** A count, not a time: it only says which of two connections has been idle longer. */
  idleSince: number;
};

export type Admission<T> = {
  /** Null when it is refused. */
  readonly connection: SharedConnection<T> | null;
  /** Idle connections that have to be closed, also when it is refused. They are not counted any more. */
  readonly displaced: readonly T[];
};

/**
 * Decides which connections may be open, at most `max`, by two rules:
 *
 * - An owner gets a connection only while it has fewer than are free. One that is alone gets half of them, and `n` owners that
 *   take all they can leave an equal share to the next. A trusted owner gets one whenever one is free.
 * - Before a connection is refused, idle ones are closed. First those that have never brought a request, `UNUSED_MS` after they were
 *   opened, whoever asks; but none of a trusted owner. Then the longest idle of the owner that has the most, but never one of an owner
 *   that has fewer than the owner that asks. A trusted owner counts as one without connections, so its idle connections are closed last,
 *   and only for a trusted owner or for one that has none.
 *
 * A connection with a request under way is never closed.
 */
export class ConnectionShares<T> {
  private readonly owners = new Map<string, OwnerState<T>>();
  /** Those of untrusted owners that have never brought a request, the oldest first. */
  private readonly unused = new Set<SharedConnection<T>>();
  private open = 0;
  private idleCount = 0;

  constructor(private readonly max: number) {}

  admit(item: T, { name, isTrusted }: Owner, nowMs: number): Admission<T> {
    const owner: OwnerState<T> = this.owners.get(name) ?? { isTrusted, connections: 0, idle: new Set() };
    const displaced: T[] = [];
    while (weightOf(owner) >= this.max - this.open) {
      const idle = this.findUnused(nowMs) ?? this.findDisplaceable(weightOf(owner));
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

  /** Requests may be pipelined: it is idle once all of them are answered. */
  requestEnds(connection: SharedConnection<T>): void {
    connection.requests -= 1;
    if (connection.requests === 0 && connection.isOpen) this.addIdle(connection);
  }

  /** Changes nothing for one that was displaced. */
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

  /** Visits every owner, but only for a connection that is refused otherwise. 5,000 owners take 0.1 ms, as long as the connection itself. */
  private findDisplaceable(weightMin: number): SharedConnection<T> | null {
    let found: SharedConnection<T> | null = null;
    for (const owner of this.owners.values()) {
      const [idle] = owner.idle;
      if (idle === undefined || weightOf(owner) < weightMin) continue;
      if (found === null || comesFirst(idle, found)) found = idle;
    }
    return found;
  }
}

function weightOf({ isTrusted, connections }: OwnerState<unknown>): number {
  return isTrusted ? 0 : connections;
}

function comesFirst(one: SharedConnection<unknown>, other: SharedConnection<unknown>): boolean {
  const difference = weightOf(one.owner) - weightOf(other.owner);
  return difference === 0 ? one.idleSince < other.idleSince : difference > 0;
}
