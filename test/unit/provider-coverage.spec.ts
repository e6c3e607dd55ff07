import { describe, expect, it } from '@jest/globals';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { parseCatalog } from '../../src/gateway/catalog/versions/parse-catalog.js';
import type { Catalog } from '../../src/gateway/catalog/catalog.js';
import { describeProviderGaps, ProviderKeyMissingError } from '../../src/bootstrap/provider-coverage.js';

const BLACK_FOREST_LABS = { apiKey: 'k', apiBase: new URL('https://api.bfl.ai'), activeTasksMax: 24 };
const COMPATIBLE = { apiKey: 'k', apiBase: new URL('https://x.example'), headers: {}, resultHosts: [] };
const NONE = { blackForestLabs: null, cloudflare: null, openAiCompatible: null };
const ONLY_COMPATIBLE = { ...NONE, openAiCompatible: COMPATIBLE };
const ONLY_BLACK_FOREST_LABS = { ...NONE, blackForestLabs: BLACK_FOREST_LABS };

/** The shipped models, all made by this provider. */
async function catalogOver(provider: string): Promise<Catalog> {
  const { document } = await readCatalogFile();
  const { models, ...rest } = structuredClone(document) as { models: object[] };
  const routes = [{ provider, upstream_model: 'klein' }];
  return parseCatalog({ ...rest, models: models.map((model) => ({ ...model, routes })) });
}

const shipped = async (): Promise<Catalog> => parseCatalog((await readCatalogFile()).document);

describe('the providers that the settings name', () => {
  it('are named at start when no route of the catalogue leads to them', async () => {
    const both = { ...ONLY_BLACK_FOREST_LABS, openAiCompatible: COMPATIBLE };
    const notices = describeProviderGaps(await shipped(), { environment: 'production', ...both });
    expect(notices).toEqual([
      expect.stringMatching(/^OPENAI_COMPATIBLE_API_BASE is set, and no route .* names openai_compatible/),
    ]);
  });

  it('are not named when they are not set: calls over another provider leave the simulator of Black Forest Labs without any', async () => {
    const over = await catalogOver('openai_compatible');
    const given = { environment: 'development', ...ONLY_COMPATIBLE } as const;
    const running = { ...given, blackForestLabs: BLACK_FOREST_LABS };
    expect(describeProviderGaps(over, running, given)).toEqual([]);
    // A provider that a simulator plays counts as configured.
    expect(describeProviderGaps(await shipped(), running, given)).toEqual([
      expect.stringMatching(/^OPENAI_COMPATIBLE_API_BASE is set/),
    ]);
  });

  it('need no words when they are those of the catalogue, and a fallback may be missing', async () => {
    expect(
      describeProviderGaps(await shipped(), { environment: 'production', ...ONLY_BLACK_FOREST_LABS }),
    ).toEqual([]);
    const over = await catalogOver('openai_compatible');
    expect(describeProviderGaps(over, { environment: 'production', ...ONLY_COMPATIBLE })).toEqual([]);
  });

  it('must in production be those whose keys a route needs, and no others', async () => {
    const settings = { environment: 'production', ...ONLY_COMPATIBLE } as const;
    const start = async (catalog: Promise<Catalog>) => describeProviderGaps(await catalog, settings);
    await expect(start(shipped())).rejects.toThrow(ProviderKeyMissingError);
    await expect(start(shipped())).rejects.toThrow(/BFL_API_KEY.*flux-2-klein-9b, .*flux-2-klein-4b/);
    expect(await start(catalogOver('openai_compatible'))).toEqual([]);
  });

  it('are missed by name where a model has none of them', async () => {
    const over = await catalogOver('cloudflare_workers_ai');
    const notices = describeProviderGaps(over, { environment: 'production', ...ONLY_COMPATIBLE });
    expect(notices.join(' ')).toContain('No provider of black-forest-labs/flux-2-klein-9b');
    expect(notices).toHaveLength(2);
  });
});
