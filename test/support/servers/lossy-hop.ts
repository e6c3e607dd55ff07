import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Headers of one connection, which no hop passes on. */
const OF_CONNECTION = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'host']);

/**
 * A proxy that reads the whole answer of the service, over a connection that it keeps open, and then loses its client. So
 * the service has seen its answer received.
 */
export class LossyHop {
  /** `x-stainless-retry-count` of every request that came, in order; null where there was none. */
  readonly retryCounts: (string | null)[] = [];
  private losing = 0;

  private constructor(
    private readonly server: Server,
    private readonly target: string,
  ) {
    server.on('request', (request, response) => void this.forward(request, response));
  }

  /** @param target the service, `http://127.0.0.1:<port>`. */
  static async start(target: string): Promise<LossyHop> {
    const server = createServer();
    const hop = new LossyHop(server, target);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return hop;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The next `count` answers do not reach their clients. */
  loseNext(count: number): void {
    this.losing = count;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const retryCount = request.headers['x-stainless-retry-count'];
    this.retryCounts.push(typeof retryCount === 'string' ? retryCount : null);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const headers = Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
      typeof value === 'string' && !OF_CONNECTION.has(name) ? [[name, value]] : [],
    );
    const isLost = this.losing > 0;
    if (isLost) this.losing -= 1;
    const answer = await fetch(`${this.target}${request.url ?? ''}`, {
      method: request.method ?? 'GET',
      headers,
      ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
    });
    const body = Buffer.from(await answer.arrayBuffer());
    if (isLost) {
      request.socket.destroy();
      return;
    }
    const passedOn = [...answer.headers].filter(([name]) => !OF_CONNECTION.has(name));
    response.writeHead(answer.status, Object.fromEntries(passedOn)).end(body);
  }
}
