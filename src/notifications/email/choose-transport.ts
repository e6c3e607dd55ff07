import { join } from 'node:path';
import type { Settings } from '../../platform/config/settings.js';
import { FileTransport } from './file-transport.js';
import type { MailTransport } from './mail-transport.js';
import { noTransport } from './no-transport.js';
import { SmtpTransport } from './smtp-transport.js';

/** Below `COFFER_DATA_DIR`. */
export const MAIL_FOLDER = 'mail';

type MailSettings = Pick<Settings, 'mail' | 'environment' | 'dataDir'>;

export function chooseTransport({ mail, environment, dataDir }: MailSettings): MailTransport {
  if (mail !== null) return new SmtpTransport(mail.smtpUrl, mail.requiresTls);
  return environment === 'production' ? noTransport : new FileTransport(join(dataDir, MAIL_FOLDER));
}
