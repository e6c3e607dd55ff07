/** The simulator does not understand a member of a control request. */
export class ControlBodyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ControlBodyError';
  }
}

type Kinds = {
  readonly boolean: boolean;
  /** Whole and not negative. */
  readonly integer: number;
  readonly object: Readonly<Record<string, unknown>>;
  readonly string: string;
  readonly strings: readonly string[];
};
type Shape = Readonly<Record<string, keyof Kinds>>;
type BodyOf<S extends Shape> = { readonly [K in keyof S]?: Kinds[S[K]] };

const CHECKS: { readonly [K in keyof Kinds]: (value: unknown) => boolean } = {
  boolean: (value) => typeof value === 'boolean',
  integer: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  string: (value) => typeof value === 'string',
  strings: (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
};

/** Checks a JSON body member by member; a misspelt fault that silently does nothing would be worse. */
export function readControlBody<const S extends Shape>(body: unknown, shape: S): BodyOf<S> {
  if (body === undefined || body === null) return {};
  if (!CHECKS.object(body)) throw new ControlBodyError('the body must be a JSON object');
  for (const [name, value] of Object.entries(body as Readonly<Record<string, unknown>>)) {
    const kind = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (kind === undefined) {
      throw new ControlBodyError(`${name} is unknown; known are ${Object.keys(shape).join(', ')}`);
    }
    if (!CHECKS[kind](value)) throw new ControlBodyError(`${name} must be of kind ${kind}`);
  }
  return body;
}
