import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { SealedBox } from '../../../platform/common/sealed-box.js';
import { KEY_ENCRYPTION, type KeyEncryption } from './key-encryption.js';

export type SealedSecret = {
  /** The secret, encrypted with its data key. */
  readonly ciphertext: Buffer;
  /** The data key, encrypted with the master key. */
  readonly wrappedKey: Buffer;
  readonly masterKeyId: string;
};

const DATA_KEY_BYTES = 32;
/** The key id that a sealed box requires. Each secret has one data key, so a constant is enough. */
const DATA_KEY_ID = 'data';
const PURPOSE = 'provider key secret';

/**
 * Envelope encryption: every secret is encrypted with its own data key (AES-256-GCM), and only the data key is wrapped by a master key.
 * Rotating a master key wraps 32 bytes again and never changes a secret. Both layers are bound to the row.
 */
@Injectable()
export class EnvelopeService {
  constructor(@Inject(KEY_ENCRYPTION) private readonly masterKeys: KeyEncryption) {}

  get currentKeyId(): string | null {
    return this.masterKeys.currentKeyId;
  }

  async seal(secret: Buffer, boundTo: string): Promise<SealedSecret> {
    const dataKey = randomBytes(DATA_KEY_BYTES);
    try {
      const { box: ciphertext } = createBox(dataKey).seal(secret, boundTo);
      const { keyId: masterKeyId, bytes: wrappedKey } = await this.masterKeys.wrap(dataKey, boundTo);
      return { ciphertext, wrappedKey, masterKeyId };
    } finally {
      dataKey.fill(0);
    }
  }

  /** Throws `MasterKeyMissingError`, and `SealBrokenError` when either layer was changed or moved to another row. */
  async open({ ciphertext, wrappedKey, masterKeyId }: SealedSecret, boundTo: string): Promise<Buffer> {
    const dataKey = await this.masterKeys.unwrap({ keyId: masterKeyId, bytes: wrappedKey }, boundTo);
    try {
      return createBox(dataKey).open({ keyId: DATA_KEY_ID, box: ciphertext }, boundTo);
    } finally {
      dataKey.fill(0);
    }
  }

  /** Wraps the data key of the same secret with the current master key. Throws as `open` does. */
  async rewrap(sealed: SealedSecret, boundTo: string): Promise<SealedSecret> {
    const { wrappedKey: bytes, masterKeyId: keyId } = sealed;
    const dataKey = await this.masterKeys.unwrap({ keyId, bytes }, boundTo);
    try {
      const wrapped = await this.masterKeys.wrap(dataKey, boundTo);
      return { ...sealed, wrappedKey: wrapped.bytes, masterKeyId: wrapped.keyId };
    } finally {
      dataKey.fill(0);
    }
  }
}

function createBox(dataKey: Buffer): SealedBox {
  return new SealedBox([{ id: DATA_KEY_ID, key: dataKey }], PURPOSE);
}
