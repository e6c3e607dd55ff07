import { describe, expect, it } from '@jest/globals';
import { CatalogReaderService } from '../../src/gateway/catalog/catalog-reader.service.js';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { readSettings } from '../../src/platform/config/settings.js';
import { ModelNotFoundError } from '../../src/money/pricing/pricing.errors.js';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';
import { priced } from '../support/images/catalog-samples.js';

const { catalog } = await readCatalogFile();
const ranking = { asOfMs: 0, windows: { day: [], week: [], month: [] } };

/** Prices and ranking come from a database that is away from the moment when `error` is set. */
function readerOf(state: { error: Error | null; model?: string }) {
  const find = (id: string) => catalog.models.find((model) => model.id === id);
  const prices = {
    current: () => null,
    requirePrice: (id: string) => {
      const model = find(id);
      if (state.error !== null && (state.model ?? id) === id) return Promise.reject(state.error);
      return model === undefined
        ? Promise.reject(new ModelNotFoundError(id))
        : Promise.resolve(priced(model).price);
    },
  };
  const models = { current: () => catalog };
  const rankings = { current: () => Promise.resolve(ranking) };
  return new CatalogReaderService(models as never, prices as never, rankings as never, readSettings({}));
}

describe('the catalogue while the database is away', () => {
  it('is shown as it was before', async () => {
    const state: { error: Error | null } = { error: null };
    const reader = readerOf(state);
    const before = await reader.read();
    state.error = new DatabaseUnavailableError(new Error('away'));
    expect(await reader.read()).toBe(before);
  });

  it('is a 503 for a process that has never seen it: no page shows a price that was not read', async () => {
    const error = new DatabaseUnavailableError(new Error('away'));
    await expect(readerOf({ error }).read()).rejects.toBe(error);
  });

  it('leaves a model out whose price is not known yet, and only that one', async () => {
    const [first, second] = catalog.models;
    const error = new ModelNotFoundError(second?.id ?? '');
    const { models } = await readerOf({ error, model: second?.id ?? '' }).read();
    expect(models.map(({ id }) => id)).toEqual([first?.id]);
  });
});
