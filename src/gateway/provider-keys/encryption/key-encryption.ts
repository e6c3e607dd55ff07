export type WrappedKey = {
  /** Of the master key that wrapped it; not a secret. */
  readonly keyId: string;
  readonly bytes: Buffer;
};

/**
 * Holds the master keys: wraps and unwraps data keys and never hands a master key out. The port for an external
 * key management service; the local adapter is the only one so far. It is called outside any tx.
 */
export interface KeyEncryption {
  /** Under which `wrap` wraps; null when there is none, so that nothing can be attached. */
  readonly currentKeyId: string | null;
  /** @param boundTo the row that it will stand in: `unwrap` asks for the same. Throws when there is no current key. */
  wrap(dataKey: Buffer, boundTo: string): Promise<WrappedKey>;
  /** Throws `MasterKeyMissingError` when the key is not there, `SealBrokenError` for what was tampered with. */
  unwrap(wrapped: WrappedKey, boundTo: string): Promise<Buffer>;
}

export const KEY_ENCRYPTION = Symbol('KEY_ENCRYPTION');
