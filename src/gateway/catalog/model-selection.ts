import type { Modality } from './catalog.js';
import { findPriced, isFree, type CatalogData, type PricedModel } from './catalog-data.js';

export type ModelFilter = {
  readonly maker: string | null;
  readonly modality: Modality | null;
  readonly free: boolean;
};

export function filterModels(models: readonly PricedModel[], filter: ModelFilter): PricedModel[] {
  return models.filter(
    (model) =>
      (filter.maker === null || model.maker.id === filter.maker) &&
      (filter.modality === null || model.modalities.includes(filter.modality)) &&
      (!filter.free || isFree(model)),
  );
}

export const COLLECTIONS = {
  'more-image-models': {
    heading: 'More image models',
    lead: 'Everything that makes images here, most used first.',
  },
  'more-from-maker': { heading: 'More from this maker', lead: 'Models by who makes them.' },
  free: {
    heading: 'Free models',
    lead: 'No credit needed: an API key is enough. Calls are limited per minute.',
  },
} as const;

export type CollectionName = keyof typeof COLLECTIONS;

export function collectionModels(
  facts: Pick<CatalogData, 'models' | 'ranking'>,
  name: CollectionName,
  makerId: string | null,
): PricedModel[] {
  switch (name) {
    case 'more-image-models': {
      const rank = facts.ranking.windows.month.map(({ model }) => model);
      const place = ({ id }: PricedModel): number => (rank.includes(id) ? rank.indexOf(id) : rank.length);
      return [...facts.models].sort((a, b) => place(a) - place(b));
    }
    case 'more-from-maker':
      return facts.models.filter(({ maker }) => makerId === null || maker.id === makerId);
    case 'free':
      return facts.models.filter(isFree);
  }
}

/** More columns do not fit on a screen. */
export const COMPARED_MAX = 4;

/** Unknown names are not repeated, only that there are some: the text of a link must not appear on our page as ours. */
export type Comparison = { readonly models: readonly PricedModel[]; readonly hasUnknown: boolean };

/** Reads `models=a,b` or, as a form sends it, `models=a&models=b`. Without any the first two models are compared. */
export function readComparison(facts: Pick<CatalogData, 'models'>, query: URLSearchParams): Comparison {
  const asked = [...new Set(query.getAll('models').flatMap((value) => value.split(',')))].filter(
    (id) => id !== '',
  );
  if (asked.length === 0) return { models: facts.models.slice(0, 2), hasUnknown: false };
  const models = asked.flatMap((id) => findPriced(facts, id) ?? []).slice(0, COMPARED_MAX);
  const hasUnknown = asked.some((id) => findPriced(facts, id) === null);
  return { models, hasUnknown };
}
