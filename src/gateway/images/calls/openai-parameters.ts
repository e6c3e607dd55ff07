import { InvalidRequestError } from '../../../platform/errors/common.errors.js';

export type Body = Readonly<Record<string, unknown>>;

/**
 * A parameter of OpenAI that has no effect here, or that asks for something that no model here can do. The values that ask for
 * nothing are accepted and the others are refused by name, because ignoring them would charge for an image that was not asked for.
 */
type FixedParameter = {
  readonly accepted: readonly unknown[];
  readonly refused: readonly unknown[] | ((value: unknown) => boolean);
};

const isIntegerWithin = (min: number, max: number) => (value: unknown) =>
  Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;

type FixedParameters = Readonly<Record<string, FixedParameter>>;

const COMMON_PARAMETERS: FixedParameters = {
  quality: { accepted: ['auto', 'standard'], refused: ['hd', 'low', 'medium', 'high'] },
  background: { accepted: ['auto', 'opaque'], refused: ['transparent'] },
  stream: { accepted: [false], refused: [true] },
  partial_images: { accepted: [0], refused: isIntegerWithin(1, 3) },
  output_compression: { accepted: [100], refused: isIntegerWithin(0, 99) },
};

const FIXED_PARAMETERS: Readonly<Record<'generation' | 'edit', FixedParameters>> = {
  generation: { ...COMMON_PARAMETERS, style: { accepted: ['vivid'], refused: ['natural'] } },
  edit: {
    ...COMMON_PARAMETERS,
    input_fidelity: { accepted: ['low'], refused: ['high'] },
    // No model here can keep a part of an image unchanged.
    mask: { accepted: [], refused: () => true },
  },
};

const OWN_PARAMETERS: readonly string[] = [
  'model',
  'prompt',
  'n',
  'size',
  'response_format',
  'output_format',
  'moderation',
  'user',
];

/** The error message repeats the name of an unknown parameter, which is the client's own text and may be very long. */
const NAME_LENGTH_MAX = 100;

/**
 * Throws `InvalidRequestError` for the first parameter that is unknown or asks for something that no model can do
 * (`unsupported_parameter`). OpenAI lets every parameter be null, which means absent.
 */
export function refuseOtherParameters(body: Body, operation: 'generation' | 'edit'): void {
  const fixedParameters = FIXED_PARAMETERS[operation];
  for (const [name, value] of Object.entries(body)) {
    if (OWN_PARAMETERS.includes(name)) continue;
    const fixed = Object.hasOwn(fixedParameters, name) ? fixedParameters[name] : undefined;
    if (fixed === undefined) {
      const shown = name.slice(0, NAME_LENGTH_MAX);
      throw new InvalidRequestError(`Unknown parameter: '${shown}'. Nothing was charged.`, shown);
    }
    if (value === null || fixed.accepted.includes(value)) continue;
    const known = typeof fixed.refused === 'function' ? fixed.refused(value) : fixed.refused.includes(value);
    throw known ? unsupported(name, fixed.accepted) : invalid(name);
  }
}

function unsupported(name: string, accepted: readonly unknown[]): InvalidRequestError {
  const rule =
    accepted.length === 0 ? 'is not supported' : `can only be ${accepted.map(String).join(' or ')}`;
  return new InvalidRequestError(
    `${name} ${rule} for this model. Leave it out. Nothing was charged.`,
    name,
    'unsupported_parameter',
  );
}

export function invalid(name: string, rule = 'has a value that OpenAI does not define'): InvalidRequestError {
  return new InvalidRequestError(`${name} ${rule}. Nothing was charged.`, name);
}

/** Returns the member as text, or null when it is absent or null. Throws `InvalidRequestError` for any other type. */
export function textOrNull(body: Body, name: string): string | null {
  const value = body[name] ?? null;
  if (value === null || typeof value === 'string') return value;
  throw invalid(name, 'must be a string');
}

/** Returns the member if it is one of `allowed`, or `fallback` when it is absent or null. Throws `InvalidRequestError` otherwise. */
export function oneOf<const T extends string, F extends T | null>(
  body: Body,
  name: string,
  allowed: readonly T[],
  fallback: F,
): T | F {
  const value = body[name] ?? null;
  if (value === null) return fallback;
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw invalid(name, `must be ${allowed.map((text) => `'${text}'`).join(' or ')}`);
  return found;
}
