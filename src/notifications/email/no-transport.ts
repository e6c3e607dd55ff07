import { MailNotSentError, type MailTransport } from './mail-transport.js';

/** Production without a mail server: addresses are not taken, so nothing is queued. */
export const noTransport: MailTransport = {
  kind: 'off',
  send: () => Promise.reject(new MailNotSentError('off', false, null)),
};
