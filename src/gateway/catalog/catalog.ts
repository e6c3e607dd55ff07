import type { MicroUsd } from '../../platform/common/money.js';

/** What a model makes images from. */
export type Modality = 'text_to_image' | 'image_editing';

export const MODALITIES: Readonly<Record<Modality, string>> = {
  text_to_image: 'Text to image',
  image_editing: 'Multi-reference editing',
};

export type Maker = {
  /** The first half of its models' ids. */
  readonly id: string;
  readonly name: string;
  readonly description: string;
};

/** What an image of a model may measure, in pixels. */
export type CatalogSize = {
  readonly widthDefault: number;
  readonly heightDefault: number;
  readonly sideMin: number;
  /** Both sides are multiples of this. */
  readonly sideStep: number;
  readonly pixelsMax: number;
};

/** One way to have the model's images made. */
export type CatalogRoute = {
  readonly provider: string;
  /** What the provider calls the model. */
  readonly upstreamModel: string;
  /** What an image costs us there, in micro-USD, for providers whose answers do not say; null: nobody knows. */
  readonly costMicros: MicroUsd | null;
};

export type CatalogModel = {
  /** `maker/name`: what a call's `model` says. */
  readonly id: string;
  readonly maker: Maker;
  readonly name: string;
  readonly family: string;
  readonly tagline: string;
  readonly description: readonly string[];
  /** `yyyy-mm-dd`. */
  readonly releasedOn: string;
  readonly modalities: readonly Modality[];
  /** For one image. Publishing puts it into the price book, which is what calls are charged by. 0 is free. */
  readonly priceMicros: MicroUsd;
  /** How long an image usually takes; null when nobody measured it. */
  readonly typicalSeconds: number | null;
  readonly referencesMax: number;
  readonly size: CatalogSize;
  readonly strengths: readonly string[];
  readonly useCases: readonly string[];
  /** In order of preference. */
  readonly routes: readonly [CatalogRoute, ...CatalogRoute[]];
  /** Where the facts were read. Not shown. */
  readonly sources: readonly string[];
};

/** One published version: every model that can be called, and nothing else. */
export type Catalog = {
  /** Grows with every published change. */
  readonly version: number;
  readonly models: readonly CatalogModel[];
};

export function findModel(catalog: Catalog, id: string): CatalogModel | null {
  return catalog.models.find((model) => model.id === id) ?? null;
}

/** Unix seconds of its release: midnight UTC of the day. */
export function releasedAtSeconds(model: Pick<CatalogModel, 'releasedOn'>): number {
  return Date.parse(`${model.releasedOn}T00:00:00Z`) / 1_000;
}
