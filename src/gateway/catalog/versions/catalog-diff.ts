import { formatUsd } from '../../../platform/common/money.js';
import { findModel, type Catalog, type CatalogModel, type CatalogRoute } from '../catalog.js';

/** One change that publishing would make. */
export type CatalogChange = {
  readonly kind: 'added' | 'removed' | 'changed';
  readonly model: string;
  /** The changed property with its values before and after; null for a whole model. */
  readonly what: { readonly member: string; readonly before: string; readonly after: string } | null;
};

/** Returns what `wanted` changes in `published`, where null means the empty catalogue of a new database. Pure. */
export function diffCatalogs(published: Catalog | null, wanted: Catalog): CatalogChange[] {
  const added = wanted.models
    .filter(({ id }) => published === null || findModel(published, id) === null)
    .map(({ id }): CatalogChange => ({ kind: 'added', model: id, what: null }));
  const others = (published?.models ?? []).flatMap((before): CatalogChange[] => {
    const after = findModel(wanted, before.id);
    return after === null
      ? [{ kind: 'removed', model: before.id, what: null }]
      : diffModels(before, after).map((what) => ({ kind: 'changed', model: before.id, what }));
  });
  const order = [published, wanted].map((catalog) =>
    catalog?.models
      .map(({ id }) => id)
      .filter((id) => findModel(wanted, id) && published && findModel(published, id)),
  );
  const moved: CatalogChange[] =
    published !== null && JSON.stringify(order[0]) !== JSON.stringify(order[1])
      ? [
          {
            kind: 'changed',
            model: '(all)',
            what: { member: 'order', before: 'as before', after: 'another' },
          },
        ]
      : [];
  return [...added, ...others, ...moved];
}

function diffModels(
  before: CatalogModel,
  after: CatalogModel,
): { member: string; before: string; after: string }[] {
  const members = (Object.keys(after) as (keyof CatalogModel)[]).filter((member) => member !== 'routes');
  const changes = members
    .map((member) => ({
      member: toFileName(member),
      before: show(before, member),
      after: show(after, member),
    }))
    .filter((change) => change.before !== change.after);
  return [...changes, ...diffRoutes(before.routes, after.routes)];
}

/** Writes one line for each route, so that the changed ones can be seen. */
function diffRoutes(
  before: CatalogModel['routes'],
  after: CatalogModel['routes'],
): { member: string; before: string; after: string }[] {
  return Array.from({ length: Math.max(before.length, after.length) }, (_route, index) => ({
    member: `routes[${index}]`,
    before: showRoute(before[index]),
    after: showRoute(after[index]),
  })).filter((change) => change.before !== change.after);
}

function showRoute(route: CatalogRoute | undefined): string {
  if (route === undefined) return 'none';
  const cost = route.costMicros === null ? '' : `, costs ${formatUsd(route.costMicros)}`;
  return `${route.provider} ${route.upstreamModel}${cost}`;
}

/** Writes the value as it is written in the file. */
function toFileName(member: string): string {
  return member.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function show(model: CatalogModel, member: keyof CatalogModel): string {
  const value = model[member];
  if (member === 'priceMicros') return formatUsd(model.priceMicros);
  if (member === 'maker') return `${model.maker.id} (${model.maker.name}: ${model.maker.description})`;
  if (Array.isArray(value)) return value.join(', ');
  return typeof value === 'object' && value !== null
    ? Object.entries(value)
        .map(([name, part]) => `${toFileName(name)} ${String(part)}`)
        .join(', ')
    : String(value);
}
