import { Inject, Injectable } from '@nestjs/common';
import { SealedBox } from '../../../platform/common/sealed-box.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import type { KeyEncryption, WrappedKey } from './key-encryption.js';

/** Keeps the master keys of `COFFER_MASTER_KEYS` in the memory of this process. */
@Injectable()
export class LocalKeyEncryption implements KeyEncryption {
  readonly currentKeyId: string | null;
  private readonly box: SealedBox;

  constructor(@Inject(SETTINGS) { masterKeys }: Pick<Settings, 'masterKeys'>) {
    this.currentKeyId = masterKeys[0]?.id ?? null;
    this.box = new SealedBox(masterKeys, 'provider key');
  }

  wrap(dataKey: Buffer, boundTo: string): Promise<WrappedKey> {
    return answer(() => {
      const { keyId, box } = this.box.seal(dataKey, boundTo);
      return { keyId, bytes: box };
    });
  }

  unwrap({ keyId, bytes }: WrappedKey, boundTo: string): Promise<Buffer> {
    return answer(() => this.box.open({ keyId, box: bytes }, boundTo));
  }
}

/** Rejects instead of throwing, as a service over the network would. */
function answer<T>(work: () => T): Promise<T> {
  return Promise.resolve().then(work);
}
