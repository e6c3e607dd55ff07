import { createHash } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { RedisConnection } from '../../../src/identity/rate-limits/redis-connection.js';
import { TAKE_SLOTS_SCRIPT } from '../../../src/identity/rate-limits/rate-limiter.service.js';

/**
 * Enough of Redis, on a loopback port, to count: it speaks RESP2 and plays the script of `rate-limiter.service.ts` and that of
 * rate-limiter-flexible (adds to a number that expires), each as one step. The tests of two processes in
 * `limit-counts.long.spec.ts` pass over a real Redis 7.0.15 as well (TEST_REDIS_URL).
 */
export class RedisSimulator {
  readonly windows = new Map<string, Window>();
  /** The leases of each key's slots, with their ends. */
  readonly slots = new Map<string, Map<string, number>>();
  /** Commands are taken and never answered, as by a server that hangs. */
  hanging = false;
  /** Every command is answered alike, as by something that is no Redis. */
  garbage = false;
  /** How many scripts ran, and how many reads. */
  asked = 0;
  /** Its clock is ahead by this much: what has a time to live ages at once. */
  aheadMs = 0;
  private readonly loaded = new Map<string, string>();
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((socket) => this.accept(socket));

  static async start(port = 0): Promise<RedisSimulator> {
    const simulator = new RedisSimulator();
    await new Promise<void>((resolve) => simulator.server.listen(port, '127.0.0.1', resolve));
    return simulator;
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
    /** What MULTI has gathered until EXEC. */
    let queue: (readonly string[])[] | null = null;
    const reply = (words: readonly string[]): string => {
      if (this.garbage) return '+PONG\r\n';
      const command = words[0]?.toLowerCase();
      if (command === 'multi') queue = [];
      else if (command === 'exec') {
        const answers = (queue ?? []).map((each) => this.answer(each));
        queue = null;
        return `*${answers.length}\r\n${answers.join('')}`;
      } else if (queue === null) return this.answer(words);
      else {
        queue.push(words);
        return '+QUEUED\r\n';
      }
      return '+OK\r\n';
    };
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      received += chunk;
      for (let parsed = parseCommand(received); parsed !== null; parsed = parseCommand(received)) {
        received = received.slice(parsed.length);
        if (!this.hanging) socket.write(reply(parsed.words));
      }
    });
  }

  private answer([command = '', first = '', keyCount = '', ...rest]: readonly string[]): string {
    switch (command.toLowerCase()) {
      case 'info':
        return bulk('redis_version:7.0.15\r\nloading:0\r\n');
      case 'evalsha': {
        const script = this.loaded.get(first);
        if (script === undefined) return '-NOSCRIPT No matching script. Please use EVAL.\r\n';
        return this.play(script, Number(keyCount), rest);
      }
      case 'eval':
        this.loaded.set(createHash('sha1').update(first).digest('hex'), first);
        return this.play(first, Number(keyCount), rest);
      case 'get':
        this.asked += 1;
        return bulk(this.windowOf(first)?.used ?? null);
      case 'pttl':
        return `:${(this.windowOf(first)?.ends ?? this.nowMs() - 2) - this.nowMs()}\r\n`;
      case 'zrem':
        return `:${Number(this.leasesOf(first).delete(keyCount))}\r\n`;
      default:
        return '+OK\r\n';
    }
  }

  private play(script: string, keyCount: number, words: readonly string[]): string {
    this.asked += 1;
    const keys = words.slice(0, keyCount);
    const args = words.slice(keyCount);
    if (script === TAKE_SLOTS_SCRIPT) return numbers(this.takeSlots(keys, args));
    if (script.includes("redis.call('incrby', KEYS[1], ARGV[1])")) {
      return numbers(this.add(keys[0] ?? '', Number(args[0]), Number(args[1])));
    }
    return '-ERR a script that this simulator does not know\r\n';
  }

  private add(key: string, points: number, seconds: number): number[] {
    const nowMs = this.nowMs();
    const window = this.windowOf(key) ?? { used: 0, ends: nowMs + seconds * 1_000 };
    window.used += points;
    this.windows.set(key, window);
    return [window.used, window.ends - nowMs];
  }

  private windowOf(key: string): Window | undefined {
    const window = this.windows.get(key);
    return window !== undefined && window.ends > this.nowMs() ? window : undefined;
  }

  private takeSlots(keys: readonly string[], [leaseMs, lease = '', ...maxes]: readonly string[]): number[] {
    const nowMs = this.nowMs();
    const slots = keys.map((key) => this.leasesOf(key));
    for (const leases of slots) for (const [id, ends] of leases) if (ends <= nowMs) leases.delete(id);
    const admitted = slots.every((leases, index) => leases.size < Number(maxes[index]));
    if (admitted && lease !== '') for (const leases of slots) leases.set(lease, nowMs + Number(leaseMs));
    return [Number(admitted), ...slots.map((leases) => leases.size)];
  }

  private leasesOf(key: string): Map<string, number> {
    const leases = this.slots.get(key) ?? new Map<string, number>();
    this.slots.set(key, leases);
    return leases;
  }

  private nowMs(): number {
    return Date.now() + this.aheadMs;
  }
}

type Window = { used: number; readonly ends: number };

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

function bulk(content: string | number | null): string {
  return content === null ? '$-1\r\n' : `$${String(content).length}\r\n${content}\r\n`;
}

function numbers(values: readonly number[]): string {
  return `*${values.length}\r\n${values.map((value) => `:${value}\r\n`).join('')}`;
}

/** As long as no other timer of these tests. */
const WAIT_FOR_REDIS_MS = 25_500;

/**
 * Calls wait a quarter of a second for Redis before their process counts for itself. This one is in the very process
 * that calls it, which may be busy for longer; a Redis that is gone is noticed at once all the same.
 */
export function waitForRedis({ client }: RedisConnection): void {
  if (client !== null) client.options.commandTimeout = WAIT_FOR_REDIS_MS;
}
