import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { CleanUp } from '../clean-up.js';
import { eventually } from '../processes.js';

type Pair = { readonly client: Socket; readonly server: Socket };

/**
 * Forwards between a process and its database, and can fall silent, as a network that drops packets and a suspended server process
 * do: nothing arrives, and neither side closes the connection.
 */
export class MutableProxy {
  private readonly open = new Set<Pair>();
  private readonly muted = new Set<Pair>();
  private readonly answersMuted = new Set<Pair>();
  private lastUsed: Pair | null = null;
  private hasKeptAnswer = false;
  /** What was sent on connections that carry nothing. */
  private readonly kept: { readonly to: Socket; readonly chunk: Buffer }[] = [];

  private constructor(readonly url: string) {}

  /** @param databaseUrl where it leads to. */
  static async start(databaseUrl: string, cleanUp: CleanUp): Promise<MutableProxy> {
    const target = new URL(databaseUrl);
    const server = createServer((client) => proxy.accept(client, target));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const url = new URL(databaseUrl);
    url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const proxy = new MutableProxy(url.href);
    cleanUp.add(() => {
      server.close();
      for (const pair of proxy.open) {
        pair.client.destroy();
        pair.server.destroy();
      }
      return Promise.resolve();
    });
    return proxy;
  }

  /** The connections that are open now carry nothing any more. Later ones do. */
  mute(): void {
    for (const pair of this.open) this.muted.add(pair);
  }

  /** Only the connection that carried something last: a pool hands out next the one that was given back last. */
  muteLastUsed(): void {
    if (this.lastUsed !== null) this.muted.add(this.lastUsed);
  }

  /** What is sent on the connections that are open now arrives, and its answers do not, as at a suspended process. */
  muteAnswers(): void {
    this.hasKeptAnswer = false;
    for (const pair of this.open) this.answersMuted.add(pair);
  }

  /** Resolves when the server has answered something since `muteAnswers`: it has run the packet that no one hears the answer of. */
  async answerKept(): Promise<void> {
    await eventually('the server answers over a muted connection', () => this.hasKeptAnswer);
  }

  /** What was sent since `mute` arrives now, as at a server process that goes on. Its answers reach no one. */
  deliverLate(): void {
    for (const { to, chunk } of this.kept.splice(0)) to.write(chunk);
  }

  private accept(client: Socket, { hostname, port }: URL): void {
    const pair = { client, server: connect(Number(port), hostname) };
    this.open.add(pair);
    client.on('data', (chunk: Buffer) => {
      if (this.muted.has(pair)) this.kept.push({ to: pair.server, chunk });
      else pair.server.write(chunk);
    });
    pair.server.on('data', (chunk) => {
      this.lastUsed = pair;
      if (this.answersMuted.has(pair)) this.hasKeptAnswer = true;
      else if (!this.muted.has(pair)) client.write(chunk);
    });
    const isSilent = (): boolean => this.muted.has(pair) || this.answersMuted.has(pair);
    client.on('error', () => undefined).on('close', () => isSilent() || pair.server.destroy());
    pair.server.on('error', () => undefined).on('close', () => isSilent() || client.destroy());
  }
}
