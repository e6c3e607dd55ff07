import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** How the server takes a mail. `cut`: it takes it, and its yes is lost. `hang`: it never says a word. */
export type MailServerAnswer = 'take' | 'later' | 'refuse' | 'cut' | 'hang';

export type TakenMail = { readonly to: string; readonly source: string };

/** A mail server as far as a client notices: SMTP without TLS on this machine, keeping what it takes. */
export class MailServer {
  readonly taken: TakenMail[] = [];
  connections = 0;
  answer: (connection: number) => MailServerAnswer = () => 'take';

  private constructor(
    private readonly server: Server,
    readonly url: URL,
  ) {}

  static async start(): Promise<MailServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const mail = new MailServer(server, new URL(`smtp://127.0.0.1:${port}`));
    server.on('connection', (socket) => mail.serve(socket));
    return mail;
  }

  /** Drops every connection. */
  hangUp(): void {
    this.open.forEach((socket) => socket.destroy());
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private readonly open = new Set<Socket>();

  private serve(socket: Socket): void {
    this.open.add(socket);
    socket.on('close', () => this.open.delete(socket));
    socket.on('error', () => undefined);
    this.connections += 1;
    const answer = this.answer(this.connections);
    if (answer === 'hang') return;
    let to = '';
    let source: string | null = null;
    let rest = '';
    const line = (text: string): void => {
      if (source !== null) {
        if (text !== '.') return void (source += `${text.replace(/^\.\./, '.')}\r\n`);
        this.taken.push({ to, source });
        source = null;
        if (answer === 'cut') socket.destroy();
        else socket.write('250 taken\r\n');
        return;
      }
      const verb = text.slice(0, 4).toUpperCase();
      if (verb === 'RCPT') {
        to = /<(.*)>/.exec(text)?.[1] ?? '';
        if (answer === 'later') return void socket.write('451 try later\r\n');
        if (answer === 'refuse') return void socket.write('550 no mailbox of that name here\r\n');
      }
      if (verb === 'STAR') return void socket.write('502 no TLS here\r\n');
      if (verb === 'DATA') source = '';
      if (verb === 'QUIT') return void socket.end('221 bye\r\n');
      socket.write(verb === 'DATA' ? '354 go on\r\n' : '250 ok\r\n');
    };
    socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString()).split('\r\n');
      rest = lines.pop() ?? '';
      lines.forEach(line);
    });
    socket.write('220 here\r\n');
  }
}

/** The headers of a mail, unfolded. */
export function headersOf(source: string): Map<string, string> {
  const [head = ''] = source.split('\r\n\r\n');
  const lines = head.replace(/\r\n[ \t]+/g, ' ').split('\r\n');
  return new Map(
    lines.map((one) => [
      one.slice(0, one.indexOf(':')).toLowerCase(),
      one.slice(one.indexOf(':') + 1).trim(),
    ]),
  );
}

/** The words of a mail, quoted-printable undone. */
export function wordsOf(source: string): string {
  return source
    .replace(/=\r?\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_match, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/** The link to one of our pages, as the plain text has it. */
export function linkIn(source: string, page: 'confirm' | 'unsubscribe'): URL {
  const found = new RegExp(`^http://\\S+/alerts/${page}\\?\\S+$`, 'm').exec(
    wordsOf(source).replaceAll('\r', ''),
  )?.[0];
  if (found === undefined) throw new Error(`the mail has no link to ${page}`);
  return new URL(found);
}
