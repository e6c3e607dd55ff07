import type { FormHash, FormValue } from './form-encoding.js';
import { invalidRequest, notSimulatedError, parameterMissing, parameterUnknown } from './errors.js';

/**
 * What one parameter accepts: reading checks the form's string, as strictly as Stripe does, and gives it
 * its type. `members` lets a test compare the names with those of the SDK's types.
 */
export type Parameter<T> = {
  /** `value` is undefined when the parameter is absent. Throws `StripeApiError` 400 naming `path`. */
  readonly read: (value: FormValue | undefined, path: string) => T;
  readonly members?: Members;
};
export type Members = Readonly<Record<string, Parameter<unknown>>>;
export type ValuesOf<M extends Members> = {
  readonly [K in keyof M]: M[K] extends Parameter<infer T> ? T : never;
};

function required<T>(readPresent: (value: FormValue, path: string) => T): Parameter<T> {
  return {
    read: (value, path) => {
      if (value === undefined) throw parameterMissing(path);
      return readPresent(value, path);
    },
  };
}

export function optional<T>(inner: Parameter<T>): Parameter<T | undefined> {
  return { ...inner, read: (value, path) => (value === undefined ? undefined : inner.read(value, path)) };
}

/** An empty string unsets the parameter, as the SDK's `Emptyable` types allow. */
export function emptyable<T>(inner: Parameter<T>): Parameter<T | null> {
  return { ...inner, read: (value, path) => (value === '' ? null : inner.read(value, path)) };
}

/** A parameter of the real API that the simulator refuses by name instead of ignoring it. */
export const notSimulated: Parameter<undefined> = {
  read: (value, path) => {
    if (value !== undefined) throw notSimulatedError(path);
    return undefined;
  },
};

function scalar(value: FormValue, path: string): string {
  if (typeof value !== 'string') throw invalidRequest('Invalid string: a hash was given.', { param: path });
  if (value !== '') return value;
  throw invalidRequest(
    `You passed an empty string for '${path}'. We assume empty values are an attempt to unset a parameter; however ` +
      `'${path}' cannot be unset. You should remove '${path}' from your request or supply a non-empty value.`,
    { code: 'parameter_invalid_empty', param: path },
  );
}

export function text(lengthMax = 5_000): Parameter<string> {
  return required((value, path) => {
    const found = scalar(value, path);
    if (found.length <= lengthMax) return found;
    throw invalidRequest(`Invalid string: must be at most ${lengthMax} characters`, { param: path });
  });
}

export function integer(min: number, max: number): Parameter<number> {
  return required((value, path) => {
    const found = scalar(value, path);
    if (!/^-?(0|[1-9][0-9]{0,14})$/.test(found)) {
      throw invalidRequest(`Invalid integer: ${found}`, { code: 'parameter_invalid_integer', param: path });
    }
    const number = Number(found);
    if (number >= min && number <= max) return number;
    const bound = number < min ? `greater than or equal to ${min}` : `less than or equal to ${max}`;
    throw invalidRequest(`This value must be ${bound}.`, { code: 'parameter_invalid_integer', param: path });
  });
}

/** Unix seconds. */
export const timestamp = (): Parameter<number> => integer(0, 9_999_999_999);

export function boolean(): Parameter<boolean> {
  return required((value, path) => {
    const found = scalar(value, path);
    if (found === 'true' || found === 'false') return found === 'true';
    throw invalidRequest(`Invalid boolean: ${found}`, { param: path });
  });
}

/** A switch of the real API that may be named here only to be off. */
export function offSwitch(): Parameter<false> {
  return required((value, path) => {
    if (boolean().read(value, path)) throw notSimulatedError(path, 'true');
    return false;
  });
}

/** A switch that must be on here; off, or one of Stripe's other words for on, is refused as not simulated. */
export function onSwitch(otherWords: readonly string[] = []): Parameter<true> {
  return {
    read: (value, path) => {
      if (value === undefined) throw notSimulatedError(`${path} left out`);
      if (typeof value === 'string' && otherWords.includes(value)) throw notSimulatedError(path, value);
      if (!boolean().read(value, path)) throw notSimulatedError(path, 'false');
      return true;
    },
  };
}

/** `values` are Stripe's; those that the simulator does not implement are refused as not simulated. */
export function choice<const T extends string>(
  simulated: readonly T[],
  known: readonly string[] = [],
): Parameter<T> {
  return required((value, path) => {
    const found = scalar(value, path);
    const match = simulated.find((candidate) => candidate === found);
    if (match !== undefined) return match;
    if (known.includes(found)) throw notSimulatedError(path, found);
    throw invalidRequest(`Invalid ${path}: must be one of ${[...simulated, ...known].join(', ')}`, {
      param: path,
    });
  });
}

export function url(): Parameter<string> {
  return required((value, path) => {
    const found = text().read(value, path);
    if (/^https?:\/\//i.test(found) && URL.canParse(found)) return found;
    throw invalidRequest('Not a valid URL', { code: 'url_invalid', param: path });
  });
}

export function email(): Parameter<string> {
  return required((value, path) => {
    const found = text(512).read(value, path);
    if (/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(found)) return found;
    throw invalidRequest(`Invalid email address: ${found}`, { code: 'email_invalid', param: path });
  });
}

/** The service sells in US dollars only, so the simulator accepts no other currency. */
export function currency(): Parameter<'usd'> {
  return required((value, path) => {
    const found = scalar(value, path);
    if (found === 'usd') return found;
    throw invalidRequest(`Invalid currency: ${found}. The sandbox supports these currencies: usd`, {
      param: path,
    });
  });
}

function hashOf(value: FormValue, path: string): FormHash {
  if (typeof value === 'string') throw invalidRequest('Invalid object', { param: path });
  return value;
}

/** A nested object (or, with an empty path, the whole request). Unknown members are refused by name. */
export function hash<M extends Members>(members: M): Parameter<ValuesOf<M>> {
  const readPresent = (value: FormValue, path: string): ValuesOf<M> => {
    const found = hashOf(value, path);
    const nameOf = (name: string): string => (path === '' ? name : `${path}[${name}]`);
    const unknown = [...found.keys()].filter((name) => !Object.hasOwn(members, name));
    if (unknown.length > 0) throw parameterUnknown(unknown.map(nameOf));
    const values = Object.entries(members).map(([name, member]) => [
      name,
      member.read(found.get(name), nameOf(name)),
    ]);
    return Object.fromEntries(values) as ValuesOf<M>;
  };
  return { ...required(readPresent), members };
}

export function list<T>(item: Parameter<T>, lengthMax: number): Parameter<readonly T[]> {
  const readPresent = (value: FormValue, path: string): readonly T[] => {
    if (typeof value === 'string') throw invalidRequest('Invalid array', { param: path });
    const indexes = [...value.keys()];
    if (!indexes.every((index) => /^(0|[1-9][0-9]{0,3})$/.test(index))) {
      throw invalidRequest('Invalid array', { param: path });
    }
    if (indexes.length > lengthMax) {
      throw invalidRequest(`Array ${path} exceeded maximum ${lengthMax} allowed elements.`, { param: path });
    }
    const ordered = indexes.sort((a, b) => Number(a) - Number(b));
    return ordered.map((index) => item.read(value.get(index), `${path}[${index}]`));
  };
  return { ...required(readPresent), ...(item.members === undefined ? {} : { members: item.members }) };
}

const METADATA_KEYS_MAX = 50;
const METADATA_NAME_MAX = 40;
const METADATA_VALUE_MAX = 500;

type MetadataValues = Readonly<Record<string, string>>;

/** Of a new object: an empty value is the same as none. */
export function metadata(): Parameter<MetadataValues> {
  const given = metadataChange();
  return { read: (value, path) => withoutEmpty(given.read(value, path)) };
}

/** Metadata as it is after a change; null takes everything away. */
export function changedMetadata(before: MetadataValues, change: MetadataValues | null): MetadataValues {
  return change === null ? {} : withoutEmpty({ ...before, ...change });
}

function withoutEmpty(values: MetadataValues): MetadataValues {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ''));
}

/** Of an existing object: an empty value takes the key away, and keys that are not named stay. */
export function metadataChange(): Parameter<MetadataValues> {
  return required((value, path) => {
    const entries = [...hashOf(value, path)].map(([name, member]): [string, string] => {
      const memberPath = `${path}[${name}]`;
      if (typeof member !== 'string')
        throw invalidRequest('Metadata values must be strings.', { param: memberPath });
      assertMetadataLength('keys', name, METADATA_NAME_MAX, memberPath);
      assertMetadataLength('values', member, METADATA_VALUE_MAX, memberPath);
      return [name, member];
    });
    if (entries.length > METADATA_KEYS_MAX) {
      throw invalidRequest(`You can specify up to ${METADATA_KEYS_MAX} metadata keys.`, { param: path });
    }
    return Object.fromEntries(entries);
  });
}

function assertMetadataLength(what: string, found: string, lengthMax: number, param: string): void {
  if (found.length <= lengthMax) return;
  throw invalidRequest(
    `Metadata ${what} can have up to ${lengthMax} characters, but you passed in one that is ${found.length} characters.`,
    { param },
  );
}

/** `created=…` or `created[gte]=…`: an inclusive or exclusive range of Unix seconds. */
export type TimeRange = { readonly gt: number; readonly lt: number };
const RANGE_MEMBERS = {
  gt: optional(timestamp()),
  gte: optional(timestamp()),
  lt: optional(timestamp()),
  lte: optional(timestamp()),
};

export function timeRange(): Parameter<TimeRange> {
  return required((value, path) => {
    if (typeof value === 'string') {
      const exact = timestamp().read(value, path);
      return { gt: exact - 1, lt: exact + 1 };
    }
    const { gt, gte, lt, lte } = hash(RANGE_MEMBERS).read(value, path);
    return {
      gt: Math.max(gt ?? -1, (gte ?? 0) - 1),
      lt: Math.min(lt ?? Number.MAX_SAFE_INTEGER, (lte ?? Number.MAX_SAFE_INTEGER - 1) + 1),
    };
  });
}

/** No range means no limit. */
export function isWithin(range: TimeRange | undefined, seconds: number): boolean {
  return range === undefined || (seconds > range.gt && seconds < range.lt);
}
