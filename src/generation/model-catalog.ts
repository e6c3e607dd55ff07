import { ModelNotFoundError } from '../pricing/pricing.errors.js';
import type { ProviderName } from './providers/image-provider.js';

/** What an image of a model may measure, in pixels. */
export type SizeRule = {
  readonly widthDefault: number;
  readonly heightDefault: number;
  readonly sideMin: number;
  /** Both sides are multiples of this. */
  readonly sideStep: number;
  readonly pixelsMax: number;
};

/** One way to have the model's images made. */
export type ProviderRoute = {
  readonly provider: ProviderName;
  /** What the provider calls the model. */
  readonly upstreamModel: string;
};

export type ImageModel = {
  readonly id: string;
  readonly ownedBy: string;
  /** Unix seconds of its release. */
  readonly created: number;
  readonly size: SizeRule;
  /** In order of preference; the first one serves. */
  readonly routes: readonly [ProviderRoute, ...ProviderRoute[]];
};

const MEBI = 1_048_576;

/** Every model that can be called. What it costs stands in the price book. */
export const IMAGE_MODELS: readonly ImageModel[] = [
  {
    id: 'black-forest-labs/flux-2-klein-9b',
    ownedBy: 'black-forest-labs',
    created: Date.UTC(2026, 0, 14) / 1_000,
    size: { widthDefault: 1_024, heightDefault: 1_024, sideMin: 64, sideStep: 16, pixelsMax: 4 * MEBI },
    routes: [{ provider: 'black_forest_labs', upstreamModel: 'flux-2-klein-9b' }],
  },
];

const byId = new Map(IMAGE_MODELS.map((model) => [model.id, model]));

export function findImageModel(id: string): ImageModel | null {
  return byId.get(id) ?? null;
}

/** Throws `ModelNotFoundError` (404). */
export function requireImageModel(id: string): ImageModel {
  const model = findImageModel(id);
  if (model === null) throw new ModelNotFoundError(id.slice(0, MODEL_ID_SHOWN_MAX));
  return model;
}

/** An unknown id is the client's own text; it comes back, but not a megabyte of it. */
const MODEL_ID_SHOWN_MAX = 200;
