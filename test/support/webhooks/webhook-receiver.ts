import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Stripe from 'stripe';

export const WEBHOOK_SECRET = 'whsec_test_secret';

export type Received = {
  readonly event: Stripe.Event;
  readonly verified: boolean;
  readonly userAgent: string | undefined;
};

/** An endpoint as the service has one: raw body, signature, then an answer that the test chooses. */
export class WebhookReceiver {
  readonly received: Received[] = [];
  answer: (attempt: number) => number | 'hang' = () => 200;
  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(port = 0): Promise<WebhookReceiver> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const receiver = new WebhookReceiver(
      server,
      `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks/stripe`,
    );
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        const event = JSON.parse(body.toString()) as Stripe.Event;
        receiver.received.push({
          event,
          verified: isVerified(body, String(request.headers['stripe-signature'])),
          userAgent: request.headers['user-agent'],
        });
        const status = receiver.answer(receiver.received.length);
        if (status !== 'hang')
          response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end();
      });
    });
    return receiver;
  }

  types(): string[] {
    return this.received.map(({ event }) => event.type);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function isVerified(body: Buffer, header: string): boolean {
  try {
    new Stripe('sk_test_x').webhooks.constructEvent(body, header, WEBHOOK_SECRET);
    return true;
  } catch {
    return false;
  }
}
