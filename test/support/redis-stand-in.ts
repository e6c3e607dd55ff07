import { createServer, type AddressInfo, type Socket } from 'node:net';

/**
 * Enough of Redis, on a loopback port, to count requests: it speaks RESP2 and plays the one script that
 * rate-limiter-flexible runs (add to a counter that expires, answer count and remaining milliseconds).
 * Checked against a real Redis 7.0.15.
 */
export class RedisStandIn {
  readonly counters = new Map<string, { count: number; expiresAtMs: number }>();
  /** Commands are taken and never answered, as by a server that hangs. */
  hanging = false;
  scripts = 0;
  private hasScript = false;
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((socket) => this.accept(socket));

  static async start(port = 0): Promise<RedisStandIn> {
    const standIn = new RedisStandIn();
    await new Promise<void>((resolve) => standIn.server.listen(port, '127.0.0.1', resolve));
    return standIn;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket);
    let received = '';
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      received += chunk;
      for (let parsed = parseCommand(received); parsed !== null; parsed = parseCommand(received)) {
        received = received.slice(parsed.length);
        if (!this.hanging) socket.write(this.answer(parsed.words));
      }
    });
  }

  private answer([command = '', , , key = '', points = '', seconds = '']: readonly string[]): string {
    switch (command.toLowerCase()) {
      case 'info':
        return bulk('redis_version:7.0.15\r\nloading:0\r\n');
      case 'evalsha':
        if (!this.hasScript) return '-NOSCRIPT No matching script. Please use EVAL.\r\n';
        return this.increment(key, Number(points), Number(seconds));
      case 'eval':
        this.hasScript = true;
        return this.increment(key, Number(points), Number(seconds));
      default:
        return '+OK\r\n';
    }
  }

  private increment(key: string, points: number, seconds: number): string {
    this.scripts += 1;
    const nowMs = Date.now();
    const known = this.counters.get(key);
    const counter =
      known !== undefined && known.expiresAtMs > nowMs
        ? known
        : { count: 0, expiresAtMs: nowMs + seconds * 1_000 };
    counter.count += points;
    this.counters.set(key, counter);
    return `*2\r\n:${counter.count}\r\n:${counter.expiresAtMs - nowMs}\r\n`;
  }
}

type Command = { readonly words: readonly string[]; readonly length: number };

/** One whole command (an array of bulk strings) at the start of the text, or null when it is not whole yet. */
function parseCommand(text: string): Command | null {
  const header = /^\*(\d+)\r\n/.exec(text);
  if (header === null) return null;
  let offset = header[0].length;
  const words: string[] = [];
  for (let index = 0; index < Number(header[1]); index += 1) {
    const size = /^\$(\d+)\r\n/.exec(text.slice(offset));
    if (size === null) return null;
    const start = offset + size[0].length;
    offset = start + Number(size[1]) + 2;
    if (text.length < offset) return null;
    words.push(text.slice(start, offset - 2));
  }
  return { words, length: offset };
}

function bulk(text: string): string {
  return `$${text.length}\r\n${text}\r\n`;
}
