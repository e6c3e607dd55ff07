import type { Mailbox } from '../../platform/common/email-address.js';

export type Mail = {
  /** Our id, the same for every attempt. */
  readonly id: string;
  /** The id with its angle brackets, by which receivers recognise a repeated mail. */
  readonly messageId: string;
  readonly from: Mailbox;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  readonly date: Date;
  readonly headers: Readonly<Record<string, string>>;
};

/** Every attempt ends within this time, whatever the server does. The mail is then sent again later. */
export const SEND_TIMEOUT_MS = 60_000;

/** Sends mails. */
export interface MailTransport {
  /** `off` means that this service sends no mail, so no account may ask for it. */
  readonly kind: 'smtp' | 'file' | 'off';
  /** Throws `MailNotSentError` within `SEND_TIMEOUT_MS`; the server may or may not have accepted the mail then. */
  send(mail: Mail): Promise<void>;
}

export const MAIL_TRANSPORT = Symbol('MAIL_TRANSPORT');

export class MailNotSentError extends Error {
  constructor(
    /** Our own code or the server's status, and never the server's text, because it is not trusted. */
    readonly code: string,
    /** Whether another attempt is useless, because the server refuses this address or this mail. */
    readonly permanent: boolean,
    cause: unknown,
  ) {
    super(`the mail was not sent (${code})`, { cause });
    this.name = 'MailNotSentError';
  }
}
