/** What a scan needs next: a number of bytes in one piece, up to a number of bytes as they arrive, or a number of bytes to be skipped. */
export type Wish = { readonly kind: 'exactly' | 'some' | 'skipped'; readonly bytes: number };

/** Yields what it needs, receives the bytes, and returns what is wrong with the image; null when it is complete. */
export type Scan = Generator<Wish, string | null, Buffer>;

export const exactly = (bytes: number): Wish => ({ kind: 'exactly', bytes });
export const some = (bytes: number): Wish => ({ kind: 'some', bytes });
export const skipped = (bytes: number): Wish => ({ kind: 'skipped', bytes });
