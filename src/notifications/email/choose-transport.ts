import { join } from 'node:path';
import type { Settings } from '../../platform/config/settings.js';
import { FileTransport } from './file-transport.js';
import { type MailTransport, MailNotSentError } from './mail-transport.js';
import { SmtpTransport } from './smtp-transport.js';

/** Below `COFFER_DATA_DIR`. */
export const MAIL_FOLDER = 'mail';

type MailSettings = Pick<Settings, 'mail' | 'environment' | 'dataDir'>;

export function chooseTransport({ mail, environment, dataDir }: MailSettings): MailTransport {
  if (mail !== null) return new SmtpTransport(mail.smtpUrl, mail.requiresTls);
  return environment === 'production' ? noTransport : new FileTransport(join(dataDir, MAIL_FOLDER));
}

/** Production without a mail server: addresses are not taken, so nothing is queued. */
const noTransport: MailTransport = {
  kind: 'off',
  send: () => Promise.reject(new MailNotSentError('off', false, null)),
};
