import { connect, type Socket } from 'node:net';

export type Message = { readonly head: string; readonly body: Buffer };

const HEAD_END = '\r\n\r\n';
const NOTHING = Buffer.alloc(0);

/**
 * HTTP/1.1 as the benchmark's own ends speak it: every message tells its length, none is cut into chunks. A whole
 * client and server took as much of the two cores as Postgres does, and they play other machines.
 */
export class MessageReader {
  private rest: Buffer = NOTHING;

  read(chunk: Buffer): Message[] {
    let data = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const messages: Message[] = [];
    for (;;) {
      const headEnd = data.indexOf(HEAD_END);
      if (headEnd === -1) break;
      const head = data.toString('latin1', 0, headEnd);
      if (/^transfer-encoding:/im.test(head)) throw new Error(`a message without a length: ${head}`);
      const bodyAt = headEnd + HEAD_END.length;
      const end = bodyAt + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
      if (data.length < end) break;
      messages.push({ head, body: data.subarray(bodyAt, end) });
      data = data.subarray(end);
    }
    this.rest = data;
    return messages;
  }
}

export function requestText(
  method: 'GET' | 'POST',
  path: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = method === 'POST' ? `content-length: ${Buffer.byteLength(body)}\r\n` : '';
  return `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${lines.join('')}${length}\r\n${body}`;
}

export const statusOf = ({ head }: Message): number => Number(head.slice(9, 12));

type Waiting = { readonly resolve: (answer: Message) => void; readonly reject: (error: Error) => void };

/** Connections that stay open; as many as are needed at once. */
export class PlainClient {
  private readonly idle: Connection[] = [];
  private readonly all = new Set<Connection>();
  private readonly port: number;

  constructor(url: string) {
    this.port = Number(new URL(url).port);
  }

  async send(text: string): Promise<Message> {
    const connection = this.idle.pop() ?? this.open();
    const answer = await connection.send(text);
    this.idle.push(connection);
    return answer;
  }

  close(): void {
    for (const connection of this.all) connection.close();
  }

  private open(): Connection {
    const connection = new Connection(connect({ host: '127.0.0.1', port: this.port, noDelay: true }));
    this.all.add(connection);
    return connection;
  }
}

/** Never taken up again after an error: `PlainClient.send` leaves it out. */
class Connection {
  private readonly reader = new MessageReader();
  private waiting: Waiting | null = null;

  constructor(private readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      for (const message of this.reader.read(chunk)) this.settle(({ resolve }) => resolve(message));
    });
    socket.on('error', (error) => this.settle(({ reject }) => reject(error)));
    socket.on('close', () => this.settle(({ reject }) => reject(new Error('the connection was closed'))));
  }

  send(text: string): Promise<Message> {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.socket.write(text);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private settle(tell: (waiting: Waiting) => void): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting !== null) tell(waiting);
  }
}
