import type { Mailbox } from '../../platform/common/email-address.js';

export type Mail = {
  /** Ours, the same for every attempt. */
  readonly id: string;
  /** With its angle brackets: receivers tell repetitions by it. */
  readonly messageId: string;
  readonly from: Mailbox;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  readonly date: Date;
  readonly headers: Readonly<Record<string, string>>;
};

/** No attempt takes longer, whatever the server does: the mail is tried again then. */
export const SEND_TIMEOUT_MS = 60_000;

/** How mail leaves. */
export interface MailTransport {
  /** `off`: this service sends none, so nobody may ask for it. */
  readonly kind: 'smtp' | 'file' | 'off';
  /** Throws `MailNotSentError` within `SEND_TIMEOUT_MS`; then nothing is known to have been taken. */
  send(mail: Mail): Promise<void>;
}

export const MAIL_TRANSPORT = Symbol('MAIL_TRANSPORT');

export class MailNotSentError extends Error {
  constructor(
    /** A word of ours or the server's status: nothing of what a stranger's server writes. */
    readonly code: string,
    /** No other attempt can help: the server refuses this address or this mail. */
    readonly permanent: boolean,
    cause: unknown,
  ) {
    super(`the mail was not sent (${code})`, { cause });
    this.name = 'MailNotSentError';
  }
}
