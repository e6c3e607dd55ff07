import { hash } from 'node:crypto';
import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import {
  type OutputFormat,
  type ReferenceImage,
  PROVIDER_NAMES,
  type ProviderName,
} from '../providers/image-provider.js';
import {
  type CatalogSize,
  releasedAtSeconds,
  type Catalog,
  type CatalogModel,
  type CatalogRoute,
} from '../../catalog/catalog.js';
import { ModelNotFoundError } from '../../../money/pricing/pricing.errors.js';
import { isKeyedProvider, type KeyedProvider } from '../../provider-keys/provider-key.js';

export type ResponseFormat = 'url' | 'b64_json';

/** Makes new images from text alone, or from reference images and text. */
export type Operation = 'generation' | 'edit';

/** A reference image as it is sent to a provider. It may be smaller than the one that the customer sent. */
export type SentReference = ReferenceImage & {
  /** The hash of the bytes that the customer sent, in lower-case hex. Two calls with the same references have the same hashes. */
  readonly sentSha256: string;
};

/** A valid call of `POST /v1/images/generations` or `/v1/images/edits`. */
export type ImageRequest = {
  readonly operation: Operation;
  readonly model: ImageModel;
  readonly prompt: string;
  /** OpenAI's `n`. */
  readonly images: number;
  readonly size: ImageSize;
  readonly responseFormat: ResponseFormat;
  /** Null when the call names no format, and the image is delivered as its provider makes it. */
  readonly outputFormat: OutputFormat | null;
  readonly moderation: 'auto' | 'low';
  /** OpenAI's `user`: the end user for whom the customer makes the image. It is kept for tracing abuse. */
  readonly endUser: string | null;
  /** The reference images of an edit in the order in which they were sent; empty for a generation. */
  readonly references: readonly SentReference[];
};

/** OpenAI's own bounds. */
export const IMAGES_MAX = 10;
export const PROMPT_CHARS_MAX = 32_000;
/** OpenAI sets no limit. Ids and hashes of ids fit. */
export const END_USER_CHARS_MAX = 512;

/** Finds models. `require` throws `ModelNotFoundError` (404). */
export interface ModelLookup {
  require(id: string): ImageModel;
}

/**
 * Whether a call accepts the answer of an earlier call with the same fingerprint, judged by the formats that both named. A call
 * that names no format accepts any.
 */
export function acceptsFormat(asked: OutputFormat | null, earlier: OutputFormat | null): boolean {
  return asked === null || asked === earlier;
}

/** The parameters that both routes have in common. */
export type CommonParameters = Omit<ImageRequest, 'operation' | 'size' | 'references'>;

/**
 * Reads an OpenAI body. Pure. Throws `InvalidRequestError` naming the first wrong parameter in `param`, and
 * `ModelNotFoundError` (404).
 */
export function parseImageRequest(body: unknown, models: ModelLookup): ImageRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new InvalidRequestError('The body must be a JSON object. Nothing was charged.');
  }
  const members = body as Body;
  const common = parseCommon(members, 'generation', models);
  const size = parseSize(textOrNull(members, 'size'), common.model.size);
  return { ...common, operation: 'generation', size, references: [] };
}

/** Throws as `parseImageRequest` does. */
export function parseCommon(members: Body, operation: Operation, models: ModelLookup): CommonParameters {
  refuseOtherParameters(members, operation);
  return {
    model: parseModel(textOrNull(members, 'model'), models),
    prompt: parsePrompt(textOrNull(members, 'prompt')),
    images: parseCount(members['n'] ?? null),
    responseFormat: oneOf(members, 'response_format', ['url', 'b64_json'], 'url'),
    outputFormat: oneOf(members, 'output_format', ['png', 'jpeg', 'webp'], null),
    moderation: oneOf(members, 'moderation', ['auto', 'low'], 'auto'),
    endUser: parseEndUser(textOrNull(members, 'user')),
  };
}

/** OpenAI's default is a model of its own, so there is no sensible default here. */
function parseModel(id: string | null, models: ModelLookup): ImageModel {
  if (id === null || id === '') throw invalid('model', 'is required');
  return models.require(id);
}

function parsePrompt(prompt: string | null): string {
  if (prompt === null || prompt.trim() === '') throw invalid('prompt', 'is required and must not be blank');
  if (prompt.length > PROMPT_CHARS_MAX) {
    throw invalid('prompt', `must be at most ${PROMPT_CHARS_MAX} characters long`);
  }
  return prompt;
}

function parseCount(count: unknown): number {
  if (count === null) return 1;
  if (!Number.isSafeInteger(count) || (count as number) < 1) {
    throw invalid('n', `must be a whole number from 1 to ${IMAGES_MAX}`);
  }
  if ((count as number) > IMAGES_MAX) {
    throw new InvalidRequestError(
      `n is at most ${IMAGES_MAX}: send several calls for more. Nothing was charged.`,
      'n',
      'too_many_images',
    );
  }
  return count as number;
}

function parseEndUser(user: string | null): string | null {
  if (user === null || user === '') return null;
  // Postgres stores no NUL.
  if (user.length > END_USER_CHARS_MAX || user.includes('\0')) {
    throw invalid('user', `must be at most ${END_USER_CHARS_MAX} characters long, without NUL`);
  }
  return user;
}

/**
 * Returns the fingerprint by which two calls are recognised as the same call, as lower-case hex of SHA-256. It covers every
 * parameter after defaults are applied, so that `"n": null` and no `n` are equal; the prompt cannot be read back from it. The
 * fingerprint of a generation must never change, because after an upgrade it is compared with those of earlier calls.
 */
export function toFingerprint(request: ImageRequest): string {
  return hash(
    'sha256',
    JSON.stringify([
      request.model.id,
      request.prompt,
      request.images,
      request.size.width,
      request.size.height,
      request.responseFormat,
      // No format used to mean PNG, and fingerprints must not change. `acceptsFormat` distinguishes the two.
      request.outputFormat ?? 'png',
      request.moderation,
      request.endUser,
      ...(request.operation === 'edit'
        ? ['edit', ...request.references.map(({ sentSha256 }) => sentSha256)]
        : []),
    ]),
    'hex',
  );
}

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

export type ImageSize = { readonly width: number; readonly height: number };

/** No side has more than five digits. Longer numbers are refused before they are parsed. */
const SIZE_PATTERN = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/;

/** `auto` and null mean the model's default size. Throws `InvalidRequestError` (`invalid_size`) with the rule in words. */
export function parseSize(size: string | null, rule: CatalogSize): ImageSize {
  if (size === null || size === 'auto') return { width: rule.widthDefault, height: rule.heightDefault };
  const match = SIZE_PATTERN.exec(size);
  const width = Number(match?.[1]);
  const height = Number(match?.[2]);
  if (match === null || !isSide(width, rule) || !isSide(height, rule) || width * height > rule.pixelsMax) {
    throw new InvalidRequestError(
      `size must be 'auto' or WIDTHxHEIGHT, each a multiple of ${rule.sideStep} and at least ${rule.sideMin}, ` +
        `together at most ${rule.pixelsMax} pixels. Nothing was charged.`,
      'size',
      'invalid_size',
    );
  }
  return { width, height };
}

/**
 * Returns the size that `auto` means for an edit: the size of the first reference, scaled into the model's limits and rounded down
 * to its step. A customer who sends a photo expects the result in the same shape, and its size has to be known beforehand.
 */
export function sizeLike(reference: ImageSize, rule: CatalogSize): ImageSize {
  const { width, height } = reference;
  const scale = Math.min(1, Math.sqrt(rule.pixelsMax / (width * height)));
  const side = (pixels: number): number =>
    Math.max(Math.floor((pixels * scale) / rule.sideStep) * rule.sideStep, rule.sideMin);
  return { width: side(width), height: side(height) };
}

function isSide(pixels: number, rule: CatalogSize): boolean {
  return pixels >= rule.sideMin && pixels % rule.sideStep === 0;
}

/** A route to a provider for which this release has an adapter. */
export type ProviderRoute = CatalogRoute & { readonly provider: ProviderName };

/** A route to a provider that accepts a customer's own key. */
export type KeyedRoute = ProviderRoute & { readonly provider: KeyedProvider };

export type ImageModel = {
  readonly id: string;
  readonly ownedBy: string;
  /** When the model was released, in Unix seconds. */
  readonly created: number;
  readonly size: CatalogSize;
  /** How many reference images one edit may have; 0 for a model that makes images from text only. */
  readonly referencesMax: number;
  /** The routes in order of preference. Each one is asked when those before it have failed. */
  readonly routes: readonly [ProviderRoute, ...ProviderRoute[]];
  /** Those of the routes to providers that accept a customer's own key. */
  readonly keyedRoutes: readonly KeyedRoute[];
};

/** The error message repeats an unknown id, which is the client's own text and may be very long. */
const MODEL_ID_SHOWN_MAX = 200;

/** The models of one published version of the catalogue that can be called. Their prices are in the price book. */
export class ImageModelList {
  private readonly byId: ReadonlyMap<string, ImageModel>;

  constructor({ models }: Pick<Catalog, 'models'>) {
    this.byId = new Map(models.flatMap(toImageModel).map((model) => [model.id, model]));
  }

  list(): readonly ImageModel[] {
    return [...this.byId.values()];
  }

  find(id: string): ImageModel | null {
    return this.byId.get(id) ?? null;
  }

  /** Throws `ModelNotFoundError` (404). */
  require(id: string): ImageModel {
    const model = this.find(id);
    if (model === null) throw new ModelNotFoundError(id.slice(0, MODEL_ID_SHOWN_MAX));
    return model;
  }
}

/** The list for each published version of the catalogue, built once. */
const listsByCatalog = new WeakMap<Catalog, ImageModelList>();

/** Returns the models of one version of the catalogue. A caller that needs several models calls this once, so that it sees one version. */
export function getImageModels(catalog: Catalog): ImageModelList {
  const known = listsByCatalog.get(catalog);
  if (known !== undefined) return known;
  const models = new ImageModelList(catalog);
  listsByCatalog.set(catalog, models);
  return models;
}

/** Returns an empty array when this release has no adapter for any provider of the model. */
export function toImageModel(model: CatalogModel): [] | [ImageModel] {
  const [first, ...others] = model.routes.flatMap((route): ProviderRoute[] => {
    // A route to a provider without an adapter in this release is left out, because it cannot be used.
    const known = PROVIDER_NAMES.find((name) => name === route.provider);
    return known === undefined ? [] : [{ ...route, provider: known }];
  });
  if (first === undefined) return [];
  const { id, maker, size, modalities } = model;
  const referencesMax = modalities.includes('image_editing') ? model.referencesMax : 0;
  return [
    {
      id,
      ownedBy: maker.id,
      created: releasedAtSeconds(model),
      size,
      referencesMax,
      routes: [first, ...others],
      keyedRoutes: [first, ...others].filter(isKeyed),
    },
  ];
}

function isKeyed(route: ProviderRoute): route is KeyedRoute {
  return isKeyedProvider(route.provider);
}
