import { invalidRequest } from './errors.js';

/**
 * Stripe's requests are form-encoded with brackets: `line_items[0][price_data][currency]=usd`. Decoding
 * gives a tree of strings; `parameter-schema.ts` gives the strings their types. Maps, not plain objects:
 * a parameter called `__proto__` is just another unknown parameter.
 */
export type FormValue = string | FormHash;
export type FormHash = ReadonlyMap<string, FormValue>;
type MutableHash = Map<string, string | MutableHash>;

/** More than any request of ours needs, few enough that garbage cannot keep the process busy. */
const PAIRS_MAX = 2_000;
const DEPTH_MAX = 8;

const NAME_PATTERN = /^([^[\]]+)((?:\[[^[\]]*\])*)$/;

/** Decodes a query string or a form body. Throws `StripeApiError` 400 on malformed or contradictory names. */
export function decodeForm(encoded: string): FormHash {
  const root: MutableHash = new Map();
  let pairs = 0;
  for (const [name, value] of new URLSearchParams(encoded)) {
    pairs += 1;
    if (pairs > PAIRS_MAX) throw invalidRequest(`Too many parameters: at most ${PAIRS_MAX} are allowed.`);
    insert(root, name, value);
  }
  return root;
}

function insert(root: MutableHash, name: string, value: string): void {
  const path = splitName(name);
  let hash = root;
  for (const segment of path.slice(0, -1)) {
    const key = segment === '' ? String(hash.size) : segment;
    const existing = hash.get(key);
    if (typeof existing === 'string') throw contradiction(name);
    const child: MutableHash = existing ?? new Map<string, string | MutableHash>();
    hash.set(key, child);
    hash = child;
  }
  const last = path.at(-1) ?? '';
  const key = last === '' ? String(hash.size) : last;
  if (hash.has(key)) throw contradiction(name);
  hash.set(key, value);
}

/** `a[b][]` becomes `['a', 'b', '']`; the empty segment means "the next index". */
function splitName(name: string): readonly string[] {
  const match = NAME_PATTERN.exec(name);
  if (match === null) throw invalidRequest(`Invalid parameter name: ${name}`, { param: name });
  const [, head = '', brackets = ''] = match;
  const path = [head, ...Array.from(brackets.matchAll(/\[([^[\]]*)\]/g), (found) => found[1] ?? '')];
  if (path.length > DEPTH_MAX)
    throw invalidRequest(`Parameter is nested too deeply: ${name}`, { param: name });
  return path;
}

/** Stripe would let the last value win; a client that sends two values has a bug worth hearing of. */
function contradiction(name: string): Error {
  return invalidRequest(`Parameter was given more than once: ${name}`, { param: name });
}

/** One spelling for equal parameters whatever their order; idempotency compares it. */
export function canonicalForm(value: FormValue): string {
  if (typeof value === 'string') return JSON.stringify(value);
  const members = [...value].sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalForm(member)}`).join(',')}}`;
}
