import { link, paragraph, type PageDocument } from '../../platform/http/pages/document.js';

/** Makes the page for a path that does not exist. It does not repeat the path. */
export function missingPage(): PageDocument {
  return {
    path: '/models',
    title: 'Not found',
    description: 'There is no such page.',
    eyebrow: [],
    heading: 'There is no such page',
    lead: 'The model or the collection does not exist, or is not offered any more.',
    badges: [],
    opening: [paragraph([link('All models', '/models')])],
    sections: [],
    jsonPath: null,
    area: null,
  };
}
