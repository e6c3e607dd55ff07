import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/** A master key: 32 random bytes, with an id that is stored next to what the key sealed. */
export type SealingKey = { readonly id: string; readonly key: Buffer };

export type Sealed = {
  /** The id of the master key; not a secret. */
  readonly keyId: string;
  /** Version, nonce, tag and ciphertext in one buffer. */
  readonly box: Buffer;
};

const CIPHER = 'aes-256-gcm';
const VERSION = 1;
const KEY_BYTES = 32;
/** The nonce is random, which is safe for 2^32 boxes of one key: far more than the number of stored secrets. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/** The box cannot be opened: its master key is missing, it was changed, or it is in a row that it was not made for. */
export class SealBrokenError extends Error {
  constructor(why: string) {
    super(`a stored secret cannot be opened: ${why}`);
    this.name = 'SealBrokenError';
  }
}

/** The box itself is intact, but the master key that sealed it is not configured here. */
export class MasterKeyMissingError extends SealBrokenError {
  /** @param keyId the id of the missing key; not a secret. */
  constructor(readonly keyId: string) {
    super(`COFFER_MASTER_KEYS has no key '${keyId}' any more`);
    this.name = 'MasterKeyMissingError';
  }
}

/**
 * Encrypts secrets that have to be read again (AES-256-GCM). Each purpose has a key of its own, derived from the
 * master key, and each box is bound to its row: copied into another row, it does not open.
 */
export class SealedBox {
  private readonly keys: ReadonlyMap<string, Buffer>;
  /** The id of the key that seals; null when there is none. */
  readonly newestId: string | null;

  /**
   * @param masterKeys newest first: the first one seals, all of them open.
   * @param purpose names what is sealed and must never change: `webhook secret`.
   */
  constructor(
    masterKeys: readonly SealingKey[],
    private readonly purpose: string,
  ) {
    this.keys = new Map(masterKeys.map(({ id, key }) => [id, derive(key, purpose)]));
    this.newestId = masterKeys[0]?.id ?? null;
  }

  /** @param boundTo names the row and the column, and must be the same on opening. Throws when there is no master key. */
  seal(secret: Buffer, boundTo: string): Sealed {
    const keyId = this.newestId;
    if (keyId === null) throw new Error('nothing can be sealed without COFFER_MASTER_KEYS');
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.requireKey(keyId), nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.context(keyId, boundTo));
    const ciphertext = Buffer.concat([cipher.update(secret), cipher.final()]);
    return { keyId, box: Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), ciphertext]) };
  }

  /** Throws `SealBrokenError`, or `MasterKeyMissingError` when only the key is missing. */
  open({ keyId, box }: Sealed, boundTo: string): Buffer {
    if (box.length < HEADER_BYTES || box[0] !== VERSION) throw new SealBrokenError('it is no box of ours');
    const nonce = box.subarray(1, 1 + NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, this.requireKey(keyId), nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(this.context(keyId, boundTo));
    decipher.setAuthTag(box.subarray(1 + NONCE_BYTES, HEADER_BYTES));
    try {
      return Buffer.concat([decipher.update(box.subarray(HEADER_BYTES)), decipher.final()]);
    } catch {
      throw new SealBrokenError('it was changed, or is not where it was stored');
    }
  }

  /** Returns false for a box that an older master key sealed: once all of these are sealed again, that key can be removed. */
  isNewest({ keyId }: Pick<Sealed, 'keyId'>): boolean {
    return keyId === this.newestId;
  }

  private requireKey(id: string): Buffer {
    const key = this.keys.get(id);
    if (key === undefined) throw new MasterKeyMissingError(id);
    return key;
  }

  private context(keyId: string, boundTo: string): Buffer {
    return Buffer.from(JSON.stringify([VERSION, this.purpose, keyId, boundTo]));
  }
}

function derive(masterKey: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', masterKey, '', `coffer ${purpose} v1`, KEY_BYTES));
}
