import {
  COLLECTIONS,
  collectionModels,
  filterModels,
  type CollectionName,
  type ModelFilter,
} from '../../gateway/catalog/model-selection.js';
import type { PageFacts } from './page-facts.js';
import { MODALITIES, type Maker, type Modality } from '../../gateway/catalog/catalog.js';
import { modelPath, priceText, type PricedModel } from '../../gateway/catalog/catalog-data.js';
import {
  link,
  paragraph,
  type Block,
  type Card,
  type Choice,
  type PageDocument,
  type Section,
} from '../../platform/http/pages/document.js';
import { modalityText } from './model-page.js';

/** Unknown values are ignored, so that an old or wrong link still shows the models. */
export function readModelFilter(facts: PageFacts, query: URLSearchParams): ModelFilter {
  const maker = query.get('maker');
  const modality = query.get('modality');
  return {
    maker: findMakers(facts.models).some(({ id }) => id === maker) ? maker : null,
    modality: offeredModalities(facts).find((known) => known === modality) ?? null,
    free: query.get('price') === 'free',
  };
}

/** Makes `/models`. */
export function modelsPage(facts: PageFacts, filter: ModelFilter): PageDocument {
  const models = filterModels(facts.models, filter);
  const count = `${models.length} ${models.length === 1 ? 'model' : 'models'}`;
  return {
    path: `/models${filterQuery(filter)}`,
    title: 'Image models',
    description: 'Every image model of this gateway, with its price, over one OpenAI-compatible API.',
    eyebrow: [],
    heading: 'Image models',
    lead: 'One OpenAI-compatible API. You pay for delivered images only, from prepaid credit.',
    badges: [],
    opening: [
      { kind: 'choices', label: 'Filter the models', choices: toChoices(facts, filter) },
      models.length === 0
        ? paragraph('No model is like that. Choose another filter.')
        : toCards(facts, models),
      paragraph([
        `${count}, version ${facts.version} of the catalogue. See `,
        link('free models', '/collections/free'),
        ', ',
        link('models by maker', '/collections/more-from-maker'),
        ' or ',
        link('what is used most', '/rankings'),
        '.',
      ]),
    ],
    sections: [],
    jsonPath: `/v1/catalog/models${filterQuery(filter)}`,
    area: 'models',
  };
}

function filterQuery({ maker, modality, free }: ModelFilter): string {
  const query = new URLSearchParams();
  if (maker !== null) query.set('maker', maker);
  if (modality !== null) query.set('modality', modality);
  if (free) query.set('price', 'free');
  return query.size === 0 ? '' : `?${query.toString()}`;
}

const ALL: ModelFilter = { maker: null, modality: null, free: false };

/** Makes one link for each value. A click on a selected value removes it. */
function toChoices(facts: PageFacts, filter: ModelFilter): Choice[] {
  const choice = (
    name: string,
    on: boolean,
    change: Partial<ModelFilter>,
    off: Partial<ModelFilter>,
  ): Choice => ({
    name,
    href: `/models${filterQuery({ ...filter, ...(on ? off : change) })}`,
    isCurrent: on,
  });
  const isAll = filterQuery(filter) === '';
  return [
    { name: 'All', href: `/models${filterQuery(ALL)}`, isCurrent: isAll },
    choice('Free', filter.free, { free: true }, { free: false }),
    ...offeredModalities(facts).map((modality) =>
      choice(MODALITIES[modality], filter.modality === modality, { modality }, { modality: null }),
    ),
    ...findMakers(facts.models).map(({ id, name }) =>
      choice(name, filter.maker === id, { maker: id }, { maker: null }),
    ),
  ];
}

function offeredModalities({ api }: PageFacts): Modality[] {
  return (Object.keys(MODALITIES) as Modality[]).filter(
    (modality) => modality !== 'image_editing' || api.hasEdits,
  );
}

/** Makes `/collections/{name}`. */
export function collectionPage(facts: PageFacts, name: CollectionName, makerId: string | null): PageDocument {
  const maker =
    name === 'more-from-maker' ? (findMakers(facts.models).find(({ id }) => id === makerId) ?? null) : null;
  const models = collectionModels(facts, name, maker?.id ?? null);
  const { heading, lead } = COLLECTIONS[name];
  const query = maker === null ? '' : `?maker=${encodeURIComponent(maker.id)}`;
  return {
    path: `/collections/${name}${query}`,
    title: maker === null ? heading : `Models by ${maker.name}`,
    description: lead,
    eyebrow: ['Collection'],
    heading: maker === null ? heading : `More from ${maker.name}`,
    lead: maker === null ? lead : maker.description,
    badges: [],
    opening:
      models.length === 0
        ? [paragraph('There is none at the moment.')]
        : name === 'more-from-maker'
          ? []
          : [toCards(facts, models)],
    sections: name === 'more-from-maker' ? byMaker(facts, models) : [],
    jsonPath: `/v1/catalog/collections/${name}${query}`,
    area: 'models',
  };
}

function byMaker(facts: PageFacts, models: readonly PricedModel[]): Section[] {
  return findMakers(models).map(({ id, name }) => ({
    id: `by-${id}`,
    heading: name,
    blocks: [
      toCards(
        facts,
        models.filter(({ maker }) => maker.id === id),
      ),
    ],
  }));
}

function findMakers(models: readonly PricedModel[]): Maker[] {
  return [...new Map(models.map(({ maker }) => [maker.id, maker])).values()];
}

function toCards({ api }: PageFacts, models: readonly PricedModel[]): Block {
  return {
    kind: 'cards',
    cards: models.map((model): Card => ({
      href: modelPath(model),
      name: model.name,
      id: model.id,
      tagline: model.tagline,
      price: priceText(model),
      badges: modalityText(model, api.hasEdits).split(', '),
    })),
  };
}
