import type { PageFacts } from '../../../src/website/catalog/page-facts.js';
import type { OpenAPIObject } from '@nestjs/swagger';
import { readFileSync } from 'node:fs';
import { readSettings } from '../../../src/platform/config/settings.js';
import { readApiFacts } from '../../../src/website/catalog/api-facts.js';
import type { CatalogModel } from '../../../src/gateway/catalog/catalog.js';
import type { PricedModel } from '../../../src/gateway/catalog/catalog-data.js';

const document = JSON.parse(
  readFileSync(new URL('../../../openapi.json', import.meta.url), 'utf8'),
) as OpenAPIObject;

export function priced(model: CatalogModel): PricedModel {
  const { id, priceMicros } = model;
  const price = { id: `price_${id}`, model: id, version: 1, unit: 'image', effectiveFromMs: 0 } as const;
  return { ...model, price: { ...price, amountMicros: priceMicros } };
}

/** As the pages see it, with ten images of each model in every window. */
export function factsOf(models: readonly CatalogModel[]): PageFacts {
  const ranked = models.map(({ id }) => ({ model: id, images: 10n }));
  return {
    version: 1,
    models: models.map(priced),
    ranking: { asOfMs: 0, windows: { day: ranked, week: ranked, month: ranked } },
    topUp: readSettings({}).topUp,
    freeCallsPerMinute: 6,
    freeImagesPerDay: 50,
    callsPerMinute: 600,
    publicUrl: 'http://127.0.0.1:3000',
    api: readApiFacts(document),
  };
}
