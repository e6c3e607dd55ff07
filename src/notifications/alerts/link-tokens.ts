import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';

const KEY_BYTES = 32;

/**
 * What makes a link in a mail ours: a keyed hash of what it is for. It stands nowhere but in the mail, and is the
 * same however often the mail is made.
 */
@Injectable()
export class LinkTokens {
  /** Newest first. */
  private readonly keys: readonly Buffer[];

  constructor(@Inject(SETTINGS) { masterKeys }: Pick<Settings, 'masterKeys'>) {
    this.keys = masterKeys.map(({ key }) =>
      Buffer.from(hkdfSync('sha256', key, '', 'coffer mail links v1', KEY_BYTES)),
    );
  }

  /** @param purpose names exactly what may be done with it, to what: `unsubscribe`, account, address. */
  make(...purpose: readonly string[]): string {
    const [newest] = this.keys;
    if (newest === undefined) throw new Error('no link can be made without COFFER_MASTER_KEYS');
    return mac(newest, purpose).toString('base64url');
  }

  /** Also for links that an older master key made. */
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
