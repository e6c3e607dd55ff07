import { createTransport } from 'nodemailer';
import { isLoopbackHost } from '../../platform/egress/outside-url.js';
import { MailNotSentError, SEND_TIMEOUT_MS, type Mail, type MailTransport } from './mail-transport.js';

/** A server that does not answer keeps one worker this long, once for each attempt. */
const CONNECT_TIMEOUT_MS = 10_000;
const SOCKET_TIMEOUT_MS = 20_000;
const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'smtps:': 465, 'smtp:': 587 };

/** By a mail server. */
export class SmtpTransport implements MailTransport {
  readonly kind = 'smtp';
  private readonly transporter;

  /**
   * @param url `smtp://` (TLS once the server offers it) or `smtps://` (TLS from the start), with credentials or without.
   * @param requiresTls Fail, on another machine than this one, where the server offers no TLS.
   */
  constructor(url: URL, requiresTls: boolean) {
    const secure = url.protocol === 'smtps:';
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const user = decodeURIComponent(url.username);
    this.transporter = createTransport({
      host,
      port: url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? 587) : Number(url.port),
      secure,
      // Credentials never cross a network in the clear, whatever is set.
      requireTLS: !secure && (requiresTls || user !== '') && !isLoopbackHost(host),
      ...(user === '' ? {} : { auth: { user, pass: decodeURIComponent(url.password) } }),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      greetingTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  }

  async send({ messageId, from, to, subject, text, html, date, headers }: Mail): Promise<void> {
    const message = { messageId, from, to: { name: '', address: to }, subject, text, html, date, headers };
    try {
      await this.transporter.sendMail({ ...message, signal: AbortSignal.timeout(SEND_TIMEOUT_MS) });
    } catch (error) {
      throw toNotSent(error);
    }
  }
}

const PERMANENT_FROM = 500;
/** What the server said of this recipient or this mail. Of our credentials or our host it may think better. */
const ABOUT_THE_MAIL: ReadonlySet<string> = new Set(['EENVELOPE', 'EMESSAGE']);

function toNotSent(error: unknown): MailNotSentError {
  const { code, responseCode } = error as { readonly code?: unknown; readonly responseCode?: unknown };
  const word = typeof code === 'string' && /^[A-Z_]{1,40}$/.test(code) ? code : 'unknown';
  if (typeof responseCode !== 'number') return new MailNotSentError(word, false, error);
  const permanent = responseCode >= PERMANENT_FROM && ABOUT_THE_MAIL.has(word);
  return new MailNotSentError(`${word} ${responseCode}`, permanent, error);
}
