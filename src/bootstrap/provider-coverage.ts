import type { Catalog, CatalogModel } from '../gateway/catalog/catalog.js';
import type { Settings } from '../platform/config/settings.js';
import type { ProviderName } from '../gateway/images/providers/image-provider.js';

type Providers = Pick<Settings, 'environment' | 'blackForestLabs' | 'cloudflare' | 'openAiCompatible'>;

/** The setting that configures a provider. */
const SETTING: Readonly<Record<ProviderName, string>> = {
  black_forest_labs: 'BFL_API_KEY',
  cloudflare_workers_ai: 'CLOUDFLARE_API_TOKEN',
  openai_compatible: 'OPENAI_COMPATIBLE_API_BASE',
};

/** A route of the catalogue uses Black Forest Labs, and production has no API key for it. */
export class ProviderKeyMissingError extends Error {
  constructor(models: readonly CatalogModel[]) {
    super(
      `Coffer cannot start. BFL_API_KEY is required in production: ${joinNames(models)} ${models.length === 1 ? 'has a route' : 'have routes'} over black_forest_labs. ` +
        'Set it, or publish a catalogue without these routes: edit catalog/models.json, then run `coffer catalog apply`.',
    );
    this.name = 'ProviderKeyMissingError';
  }
}

/**
 * Describes where the settings and the catalogue do not match, in sentences for the operator who starts the service. It is pure.
 *
 * @param given the settings without what simulators add to them: no one must route calls to a provider that is not configured.
 * @throws ProviderKeyMissingError in production, where there is no simulator of Black Forest Labs.
 */
export function describeProviderGaps(
  { models }: Catalog,
  settings: Providers,
  given: Providers = settings,
): string[] {
  const configured = listConfigured(settings);
  const set = listConfigured(given);
  const over = (name: ProviderName): CatalogModel[] =>
    models.filter(({ routes }) => routes.some(({ provider }) => provider === name));
  if (settings.environment === 'production' && !configured.black_forest_labs) {
    const needing = over('black_forest_labs');
    if (needing.length > 0) throw new ProviderKeyMissingError(needing);
  }
  const names = Object.keys(set) as ProviderName[];
  const unused = names
    .filter((name) => set[name] && over(name).length === 0)
    .map(
      (name) =>
        `${SETTING[name]} is set, and no route of the catalogue names ${name}: it gets no calls. ` +
        'Add a route with this provider to a model in catalog/models.json, then run `coffer catalog apply`.',
    );
  const closed = models.filter(({ routes }) =>
    routes.every(({ provider }) => configured[provider as ProviderName] !== true),
  );
  if (closed.length === 0) return unused;
  return [
    ...unused,
    `No provider of ${joinNames(closed)} is configured: calls for ${closed.length === 1 ? 'it' : 'them'} answer 503 and charge nothing.`,
  ];
}

function listConfigured(settings: Providers): Readonly<Record<ProviderName, boolean>> {
  return {
    black_forest_labs: settings.blackForestLabs !== null,
    cloudflare_workers_ai: settings.cloudflare !== null,
    openai_compatible: settings.openAiCompatible !== null,
  };
}

function joinNames(models: readonly CatalogModel[]): string {
  return models.map(({ id }) => id).join(', ');
}
