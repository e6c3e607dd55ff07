import { hash } from 'node:crypto';

/** Enough of the digest that no two bodies share it by chance. */
const ETAG_DIGITS = 27;

export function etagFor(body: string): string {
  return `"${hash('sha256', body, 'base64url').slice(0, ETAG_DIGITS)}"`;
}

/** What `If-None-Match` says. A cache in between may have made our tag a weak one, which says the same here. */
export function isNamedIn(header: string | undefined, etag: string): boolean {
  return (header ?? '')
    .split(',')
    .some((tag) => tag.trim().replace(/^W\//, '') === etag || tag.trim() === '*');
}
