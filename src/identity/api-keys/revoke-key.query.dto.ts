import { WordField } from '../../platform/common/fields.js';

const WORDS = ['true', 'false'] as const;

/** The query of every route that revokes a key. */
export class RevokeKeyQuery {
  @WordField({
    description:
      'Whether all keys that the key has made, and those that they have made, are revoked as well. When absent they are: a ' +
      'key that leaked may have made keys for whoever found it. Only a request by the key itself, or by a descendant of it, ' +
      'has to say which: it may be a rotation, which `false` is for.',
    words: WORDS,
    optional: true,
    example: 'true',
  })
  declare readonly with_descendants?: (typeof WORDS)[number];

  /** Undefined: the request does not say. */
  get withDescendants(): boolean | undefined {
    return this.with_descendants == null ? undefined : this.with_descendants === 'true';
  }
}
