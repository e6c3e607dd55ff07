import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';

export type ReceivedEvent = {
  readonly id: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
};

export type ReceiverAnswer = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
};

type Answer = ReceiverAnswer | 'hang' | 'cut';

/** A customer's endpoint: a plain HTTP server that keeps what it is sent, and answers as the test wants. */
export class EventReceiver {
  readonly received: ReceivedEvent[] = [];
  answer: (attempt: number) => Answer | Promise<Answer> = () => ({ status: 204 });

  private constructor(
    private readonly server: Server,
    readonly url: string,
    readonly port: number,
  ) {}

  static async start(host = '127.0.0.1', port = 0): Promise<EventReceiver> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
    const bound = (server.address() as AddressInfo).port;
    const receiver = new EventReceiver(server, `http://${host}:${bound}/hook`, bound);
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        receiver.received.push({ id: String(request.headers['webhook-id']), headers: request.headers, body });
        void Promise.resolve(receiver.answer(receiver.received.length)).then((answer) => {
          if (answer === 'hang') return;
          if (answer === 'cut') request.socket.destroy();
          else response.writeHead(answer.status, answer.headers).end(answer.body);
        });
      });
    });
    return receiver;
  }

  /** Forgets what came and answers 204 again. */
  reset(): void {
    this.received.length = 0;
    this.answer = () => ({ status: 204 });
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** As a customer verifies: with the public library, the secret and nothing else. */
export function isGenuine({ headers, body }: ReceivedEvent, secret: string): boolean {
  try {
    new Webhook(secret).verify(body, headers as Record<string, string>);
    return true;
  } catch {
    return false;
  }
}
