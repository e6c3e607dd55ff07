import { COMPARED_MAX, type Comparison } from '../../gateway/catalog/model-selection.js';
import type { PageFacts } from './page-facts.js';
import { modelPath, priceText, type PricedModel } from '../../gateway/catalog/catalog-data.js';
import {
  link,
  paragraph,
  type Block,
  type PageDocument,
  type Text,
} from '../../platform/http/pages/document.js';
import { comparePath, modalityText } from './model-page.js';

const UNKNOWN: Block = { kind: 'notice', text: ['Some of the models that were asked for do not exist.'] };

/** Makes `/compare`. */
export function comparePage(facts: PageFacts, { models, hasUnknown }: Comparison): PageDocument {
  const names = models.map(({ name }) => name).join(' and ');
  const path = comparePath(models.map(({ id }) => id));
  return {
    path: models.length === 0 ? '/compare' : path,
    title: names === '' ? 'Compare models' : `Compare ${names}`,
    description: 'Image models side by side: price, modality, limits.',
    eyebrow: [],
    heading: 'Compare models',
    lead: names === '' ? 'Choose what to put side by side.' : `${names}, side by side.`,
    badges: [],
    opening: [
      ...(hasUnknown ? [UNKNOWN] : []),
      {
        kind: 'picker',
        action: '/compare',
        name: 'models',
        label: `Up to ${COMPARED_MAX} models`,
        button: 'Compare',
        picks: facts.models.map(({ id, name }) => ({
          value: id,
          name,
          isPicked: models.some((one) => one.id === id),
        })),
      },
      models.length === 0 ? paragraph('Nothing is chosen yet.') : comparisonTable(facts, models),
    ],
    sections: [],
    jsonPath: models.length === 0 ? null : `/v1/catalog${path}`,
    area: 'compare',
  };
}

function comparisonTable({ api }: PageFacts, models: readonly PricedModel[]): Block {
  const row = (name: string, value: (model: PricedModel) => Text): readonly Text[] => [
    name,
    ...models.map(value),
  ];
  const list = (items: readonly string[]): string => (items.length === 0 ? '–' : items.join(', '));
  return {
    kind: 'table',
    caption: 'Models side by side',
    head: ['Fact', ...models.map(({ name }) => name)],
    rows: [
      row('Model', (model) => [link(model.id, modelPath(model))]),
      row('Maker', ({ maker }) => maker.name),
      row('Price', priceText),
      row('Modality', (model) => modalityText(model, api.hasEdits)),
      row('Released', ({ releasedOn }) => releasedOn),
      row('Usual time', ({ typicalSeconds }) =>
        typicalSeconds === null ? '–' : `about ${typicalSeconds} s`,
      ),
      row('Default size', ({ size }) => `${size.widthDefault}x${size.heightDefault}`),
      row('Most pixels', ({ size }) => size.pixelsMax.toLocaleString('en-US')),
      ...(api.hasEdits ? [row('Reference images', ({ referencesMax }) => String(referencesMax))] : []),
      row('Strengths', ({ strengths }) => list(strengths)),
      row('Good for', ({ useCases }) => list(useCases)),
    ],
  };
}
