import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** How often the connections with unsent bytes are checked. A check visits every open connection: some thousand take less than a millisecond. */
export const PROGRESS_CHECK_INTERVAL_MS = 5_000;

/**
 * A peer that has taken nothing of its answer for so many checks is not slow, but gone or hostile. It loses its connection within
 * a minute of the last byte that it took.
 *
 * What the kernel has taken counts as taken by the peer. The kernel takes more only when a third of its buffer is free again, which
 * on Linux is 1.4 MB at most (over loopback, for a proxy that passes on what a slow client takes) and some ten kilobytes over a slow
 * line. A peer that reads has to take that much in this time, so it should not be shorter.
 */
export const CHECKS_WITHOUT_PROGRESS_MAX = 11;

type Progress = { readonly takenBytes: number; checksWithout: number };

/**
 * Drops the peers that do not read, so that what their answers hold is given back.
 *
 * Node's own timer of a connection (`server.timeout`) does not do that: it begins again with whatever is written or received, so a
 * peer that goes on sending requests is never dropped, and one that does not is dropped after twice the time. Nothing is done here
 * for a request; an answer that the kernel has taken as a whole holds no memory of the process, and its connection ends with
 * `keepAliveTimeout`. So does nothing end a call that works for long: nothing waits to be taken then.
 */
export class StalledPeers {
  /** Every open connection; null where nothing was unsent at the last check. */
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

  /** Counts checks, not time: a process that stood still accuses nobody. */
  check(): void {
    for (const [socket, progress] of this.connections) {
      if (socket.writableLength === 0) {
        if (progress !== null) this.connections.set(socket, null);
        continue;
      }
      const takenBytes = countTakenBytes(socket);
      if (progress === null || progress.takenBytes !== takenBytes) {
        this.connections.set(socket, { takenBytes, checksWithout: 0 });
        continue;
      }
      progress.checksWithout += 1;
      if (progress.checksWithout >= CHECKS_WITHOUT_PROGRESS_MAX) socket.destroy();
    }
  }
}

/** What is written to the connection, and how much of it the kernel has not taken yet. */
type NativeStream = { readonly bytesWritten: number; readonly writeQueueSize: number };

/**
 * Node's public counters move only when a write is finished, and an answer of megabytes may be one write. Node's own timer reads the
 * same property.
 */
function countTakenBytes(socket: Socket): number {
  const { _handle: stream } = socket as Socket & { readonly _handle?: NativeStream | null };
  return stream == null ? 0 : stream.bytesWritten - stream.writeQueueSize;
}
