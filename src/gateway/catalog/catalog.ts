import type { MicroUsd } from '../../platform/common/money.js';

/** The kinds of input from which a model makes images. */
export type Modality = 'text_to_image' | 'image_editing';

export const MODALITIES: Readonly<Record<Modality, string>> = {
  text_to_image: 'Text to image',
  image_editing: 'Multi-reference editing',
};

export type Maker = {
  /** The first part of its models' ids. */
  readonly id: string;
  readonly name: string;
  readonly description: string;
};

/** The sizes that an image of a model may have, in pixels. */
export type CatalogSize = {
  readonly widthDefault: number;
  readonly heightDefault: number;
  readonly sideMin: number;
  /** Both sides must be multiples of this. */
  readonly sideStep: number;
  readonly pixelsMax: number;
};

/** One provider of the model's images. */
export type CatalogRoute = {
  readonly provider: string;
  /** The provider's name for the model. */
  readonly upstreamModel: string;
  /** What an image costs us there, in micro-USD, for providers whose answers do not name it; null when it is not known. */
  readonly costMicros: MicroUsd | null;
};

export type CatalogModel = {
  /** The `maker/name` that calls send as `model`. */
  readonly id: string;
  readonly maker: Maker;
  readonly name: string;
  readonly family: string;
  readonly tagline: string;
  readonly description: readonly string[];
  /** `yyyy-mm-dd`. */
  readonly releasedOn: string;
  readonly modalities: readonly Modality[];
  /** The price of one image; 0 is free. Publishing copies it to the price book, by which calls are charged. */
  readonly priceMicros: MicroUsd;
  /** How long an image usually takes; null when it was not measured. */
  readonly typicalSeconds: number | null;
  readonly referencesMax: number;
  readonly size: CatalogSize;
  readonly strengths: readonly string[];
  readonly useCases: readonly string[];
  /** The routes in order of preference. */
  readonly routes: readonly [CatalogRoute, ...CatalogRoute[]];
  /** The sources of the facts, which are not shown. */
  readonly sources: readonly string[];
};

/** One published version, with every model that can be called. */
export type Catalog = {
  /** Grows with every published change. */
  readonly version: number;
  readonly models: readonly CatalogModel[];
};

export function findModel(catalog: Catalog, id: string): CatalogModel | null {
  return catalog.models.find((model) => model.id === id) ?? null;
}

/** Returns the model's release as Unix seconds: midnight UTC of the day. */
export function releasedAtSeconds(model: Pick<CatalogModel, 'releasedOn'>): number {
  return Date.parse(`${model.releasedOn}T00:00:00Z`) / 1_000;
}
