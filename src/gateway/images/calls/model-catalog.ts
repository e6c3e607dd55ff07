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
import { PROVIDER_NAMES, type ProviderName } from '../providers/image-provider.js';

/** A route whose provider this release has an adapter for. */
export type ProviderRoute = CatalogRoute & { readonly provider: ProviderName };

export type ImageModel = {
  readonly id: string;
  readonly ownedBy: string;
  /** Unix seconds of its release. */
  readonly created: number;
  readonly size: CatalogSize;
  /** Reference images that one edit may have; 0 for a model that makes images from text only. */
  readonly referencesMax: number;
  /** In order of preference: each one serves what those before it fail at. */
  readonly routes: readonly [ProviderRoute, ...ProviderRoute[]];
};

/** An unknown id is the client's own text; it comes back, but not a megabyte of it. */
const MODEL_ID_SHOWN_MAX = 200;

/** Every model that can be called, as one published version of the catalogue has it. What it costs stands in the price book. */
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

/** The models in force. */
@Injectable()
export class ImageModels {
  /** One translation for each published version. */
  private readonly translated = new WeakMap<Catalog, ImageModelList>();

  constructor(private readonly catalog: ModelCatalog) {}

  /** Whoever looks twice in one call asks once, so that both see one version. */
  async current(): Promise<ImageModelList> {
    const catalog = await this.catalog.current();
    const known = this.translated.get(catalog);
    if (known !== undefined) return known;
    const models = new ImageModelList(catalog);
    this.translated.set(catalog, models);
    return models;
  }
}

/** None when no provider of this release makes it. */
export function toImageModel(model: CatalogModel): [] | [ImageModel] {
  const [first, ...others] = model.routes.flatMap((route): ProviderRoute[] => {
    // A route to a provider that this release has no adapter for is left out: nothing can be sent there.
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
    },
  ];
}
