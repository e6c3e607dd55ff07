import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { MailNotSentError, type Mail, type MailTransport } from './mail-transport.js';

/**
 * Writes mails to a folder, as files that mail programs open, so that developers can read them. It is not used in
 * production. The files contain links that confirm addresses, so only their owner may read them.
 */
export class FileTransport implements MailTransport {
  readonly kind = 'file';
  private readonly composer = createTransport({ streamTransport: true, buffer: true, newline: 'windows' });

  constructor(readonly folder: string) {}

  async send({ id, messageId, from, to, subject, text, html, date, headers }: Mail): Promise<void> {
    const message = { messageId, from, to: { name: '', address: to }, subject, text, html, date, headers };
    try {
      const composed = await this.composer.sendMail(message);
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const path = join(this.folder, `${id}.eml`);
      // A repeated mail replaces the same file, and the rename makes sure that no one reads half a file.
      await writeFile(`${path}.part`, composed.message as Buffer, { mode: 0o600 });
      await rename(`${path}.part`, path);
    } catch (error) {
      throw new MailNotSentError('file', false, error);
    }
  }
}
