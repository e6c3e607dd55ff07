export type WrappedKey = {
  /** The id of the master key that wrapped it, which is not a secret. */
  readonly keyId: string;
  readonly bytes: Buffer;
};

/**
 * The port for a key management service. It keeps the master keys, wraps and unwraps data keys, and never returns a master key. The
 * local adapter is the only one so far. It must be called outside any tx.
 */
export interface KeyEncryption {
  /** The id of the master key that `wrap` uses; null when there is none, and then no key can be attached. */
  readonly currentKeyId: string | null;
  /** Throws when there is no current key. `boundTo` names the row; `unwrap` requires the same value. */
  wrap(dataKey: Buffer, boundTo: string): Promise<WrappedKey>;
  /** Throws `MasterKeyMissingError` when the master key is missing, and `SealBrokenError` when the data was changed. */
  unwrap(wrapped: WrappedKey, boundTo: string): Promise<Buffer>;
}

export const KEY_ENCRYPTION = Symbol('KEY_ENCRYPTION');
