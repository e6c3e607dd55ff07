import { isUniqueViolation } from '../../../platform/database/constraints.js';
import type { Tx } from '../../../platform/database/transaction-runner.js';
import { PRICE_ENTITIES, putPrice } from '../../../money/pricing/put-price.js';
import type { Catalog } from '../catalog.js';
import type { CatalogDocument } from './catalog-file.js';
import { CatalogVersionEntity } from './catalog-version.entity.js';
import { parseCatalog } from './parse-catalog.js';

/** What publishing reads and writes, for a program that opens the database without the service's modules. */
export const CATALOG_ENTITIES = [CatalogVersionEntity, ...PRICE_ENTITIES];

/** Publishing was refused; nothing was written. The message says what to do. */
export class CatalogRefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CatalogRefusedError';
  }
}

/** The version in force; null in a new database. Throws `InvalidCatalogError` for one that this release cannot read. */
export async function readNewestCatalog(tx: Tx): Promise<Catalog | null> {
  const [row] = await tx.find(CatalogVersionEntity, { order: { version: 'DESC' }, take: 1 });
  return row === undefined ? null : parseCatalog(row.document);
}

/** Any version that was ever published; null when there is none of this number. */
export async function readCatalogVersion(tx: Tx, version: number): Promise<Catalog | null> {
  const row = await tx.findOneBy(CatalogVersionEntity, { version });
  return row === null ? null : parseCatalog(row.document);
}

export type Publication = CatalogDocument & {
  /** What the diff was made against: when another version is in force by now, this one is refused. */
  readonly after: number | null;
  readonly publishedBy: string;
  readonly nowMs: number;
};

/**
 * Writes a new version, and the price of each model whose price differs from the one in force. Throws
 * `CatalogRefusedError` when its number is not above the published one, or when somebody else was faster: the
 * primary key decides between two that publish at once.
 */
export async function publishCatalog(
  tx: Tx,
  { catalog, document, after, publishedBy, nowMs }: Publication,
): Promise<void> {
  const published = (await readNewestCatalog(tx))?.version ?? null;
  if (published !== after) throw publishedConcurrently(published);
  refuseDowngrade(published, catalog.version);
  try {
    await tx.insert(CatalogVersionEntity, {
      version: catalog.version,
      // TypeORM's type of a jsonb column wants to know its members; the parser has read them all.
      document: document as object,
      publishedAt: new Date(nowMs),
      publishedBy,
    });
  } catch (error) {
    if (isUniqueViolation(error, 'catalog_versions_pkey')) throw publishedConcurrently(catalog.version);
    throw error;
  }
  for (const { id, priceMicros } of catalog.models)
    await putPrice(tx, { model: id, amountMicros: priceMicros, nowMs });
}

/** Throws `CatalogRefusedError` unless `wanted` is above `published`. */
export function refuseDowngrade(published: number | null, wanted: number): void {
  if (published === null || wanted > published) return;
  throw new CatalogRefusedError(
    `version ${wanted} is not above version ${published}, which is in force. To change something, or to go back to ` +
      `an older content, give the file a higher version.`,
  );
}

function publishedConcurrently(version: number | null): CatalogRefusedError {
  return new CatalogRefusedError(
    `version ${version ?? 'none'} was published meanwhile; look at the difference again`,
  );
}
