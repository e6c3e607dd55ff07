import { WordField } from '../../platform/common/fields.js';

const WORDS = ['true', 'false'] as const;

/** The query of every route that revokes a key. */
export class RevokeKeyQuery {
  @WordField({
    description:
      'Whether all keys that the key has made, and those that they have made, are revoked as well. By default they are, because ' +
      'an attacker who has a leaked key may have made keys with it. A request by the key itself, or by a descendant of it, ' +
      'has to state this, because it may be a rotation; use `false` for a rotation.',
    words: WORDS,
    optional: true,
    example: 'true',
  })
  declare readonly with_descendants?: (typeof WORDS)[number];

  /** Undefined when the request does not say. */
  get withDescendants(): boolean | undefined {
    return this.with_descendants == null ? undefined : this.with_descendants === 'true';
  }
}
