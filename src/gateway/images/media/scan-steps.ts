/** What a scan wants next: so many bytes in one piece, up to so many as they come, or to have so many left out. */
export type Wish = { readonly kind: 'exactly' | 'some' | 'skipped'; readonly bytes: number };

/** Yields what it wants, is given it, and returns what is wrong with the image; null when there is nothing more to look at. */
export type Scan = Generator<Wish, string | null, Buffer>;

export const exactly = (bytes: number): Wish => ({ kind: 'exactly', bytes });
export const some = (bytes: number): Wish => ({ kind: 'some', bytes });
export const skipped = (bytes: number): Wish => ({ kind: 'skipped', bytes });
