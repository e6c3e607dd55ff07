import { Injectable } from '@nestjs/common';
import {
  releasedAtSeconds,
  type Catalog,
  type CatalogModel,
  type CatalogRoute,
  type CatalogSize,
} from '../../catalog/catalog.js';
import { ModelCatalog } from '../../catalog/model-catalog.service.js';
import { ModelNotFoundError } from '../../../money/pricing/pricing.errors.js';
import { isKeyedProvider, type KeyedProvider } from '../../provider-keys/provider-key.js';
import { PROVIDER_NAMES, type ProviderName } from '../providers/image-provider.js';

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

/** Provides the models of the current version of the catalogue. */
@Injectable()
export class ImageModels {
  /** The list for each published version, built once. */
  private readonly translated = new WeakMap<Catalog, ImageModelList>();

  constructor(private readonly catalog: ModelCatalog) {}

  /** A caller that needs several models calls this once, so that it sees one version. */
  async current(): Promise<ImageModelList> {
    const catalog = await this.catalog.current();
    const known = this.translated.get(catalog);
    if (known !== undefined) return known;
    const models = new ImageModelList(catalog);
    this.translated.set(catalog, models);
    return models;
  }
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
