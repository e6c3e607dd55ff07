import type { PageFacts } from './page-facts.js';
import { divFloor } from '../../platform/common/money.js';
import { findPriced, modelPath } from '../../gateway/catalog/catalog-data.js';
import type { RankedModel, RankingWindow } from '../../gateway/catalog/ranking/model-ranking.service.js';
import {
  code,
  link,
  paragraph,
  type Bar,
  type Block,
  type PageDocument,
  type Section,
} from '../../platform/http/pages/document.js';

const WINDOW_NAMES: Readonly<Record<RankingWindow, string>> = {
  day: 'Last 24 hours',
  week: 'Last 7 days',
  month: 'Last 30 days',
};
const HUNDRED = 100n;

/** Makes `/rankings`. */
export function rankingsPage(facts: PageFacts): PageDocument {
  const { windows } = facts.ranking;
  return {
    path: '/rankings',
    title: 'Usage ranking',
    description: 'Which image models are used most, counted from delivered images.',
    eyebrow: [],
    heading: 'Usage ranking',
    lead: 'Which models are used most, counted from the images that this gateway delivered.',
    badges: [],
    opening: [],
    sections: [
      ...(Object.keys(WINDOW_NAMES) as RankingWindow[]).map((window): Section => ({
        id: window,
        heading: WINDOW_NAMES[window],
        blocks: [toBlock(facts, window, windows[window])],
      })),
      {
        id: 'method',
        heading: 'How this is counted',
        blocks: [
          paragraph(
            'Images are counted by the hour in which they were begun, over all customers together, and only once they were delivered. ' +
              'No customer, key or prompt is part of it. The numbers are renewed every minute.',
          ),
        ],
      },
    ],
    jsonPath: '/v1/catalog/rankings',
    area: 'rankings',
  };
}

function toBlock(facts: PageFacts, window: RankingWindow, ranked: readonly RankedModel[]): Block {
  const most = ranked[0]?.images ?? 0n;
  if (most === 0n) return paragraph('No image was delivered in this time.');
  return {
    kind: 'bars',
    caption: `Images, ${WINDOW_NAMES[window].toLowerCase()}`,
    unit: 'Images',
    bars: ranked.map(({ model, images }): Bar => {
      const listed = findPriced(facts, model);
      return {
        // A model that is no longer offered keeps its rank, but has no page to link to.
        label: listed === null ? [code(model)] : [link(listed.name, modelPath(listed))],
        value: images.toLocaleString('en-US'),
        // Rounding down is harmless, because the value is only the length of a bar.
        percent: Number(divFloor(images * HUNDRED, most)),
      };
    }),
  };
}
