import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';

const KEY_BYTES = 32;

/**
 * Creates and verifies the tokens of the links in mails. A token is a keyed hash of its purpose. It is stored only in the
 * mail, and is the same each time the mail is composed.
 */
@Injectable()
export class LinkTokens {
  /** The keys, with the newest first. */
  private readonly keys: readonly Buffer[];

  constructor(@Inject(SETTINGS) { masterKeys }: Pick<Settings, 'masterKeys'>) {
    this.keys = masterKeys.map(({ key }) =>
      Buffer.from(hkdfSync('sha256', key, '', 'coffer mail links v1', KEY_BYTES)),
    );
  }

  /** @param purpose names exactly what the token permits and for which object: `unsubscribe`, account, address. */
  make(...purpose: readonly string[]): string {
    const [newest] = this.keys;
    if (newest === undefined) throw new Error('no link can be created without COFFER_MASTER_KEYS');
    return mac(newest, purpose).toString('base64url');
  }

  /** Links that were created with an older master key stay valid. */
  isGenuine(token: string, ...purpose: readonly string[]): boolean {
    const given = Buffer.from(token, 'base64url');
    return this.keys.some((key) => {
      const expected = mac(key, purpose);
      return given.length === expected.length && timingSafeEqual(given, expected);
    });
  }
}

function mac(key: Buffer, purpose: readonly string[]): Buffer {
  return createHmac('sha256', key).update(JSON.stringify(purpose)).digest();
}
