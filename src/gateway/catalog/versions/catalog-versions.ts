import { isUniqueViolation } from '../../../platform/database/constraints.js';
import type { Tx } from '../../../platform/database/transaction-runner.js';
import { PRICE_ENTITIES, putPrice } from '../../../money/pricing/put-price.js';
import type { Catalog } from '../catalog.js';
import type { CatalogDocument } from './catalog-file.js';
import { CatalogVersionEntity } from './catalog-version.entity.js';
import { parseCatalog } from './parse-catalog.js';

/** Reads and publishes versions, for programs that open the database without the service's modules. */
export const CATALOG_ENTITIES = [CatalogVersionEntity, ...PRICE_ENTITIES];

/** Publishing was refused and nothing was written. The message says what to do. */
export class CatalogRefusedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CatalogRefusedError';
  }
}

/** Returns the current version; null in a new database. Throws `InvalidCatalogError` for one that this release cannot read. */
export async function readNewestCatalog(tx: Tx): Promise<Catalog | null> {
  const [row] = await tx.find(CatalogVersionEntity, { order: { version: 'DESC' }, take: 1 });
  return row === undefined ? null : parseCatalog(row.document);
}

/** Returns any version that was ever published; null when no version has this number. */
export async function readCatalogVersion(tx: Tx, version: number): Promise<Catalog | null> {
  const row = await tx.findOneBy(CatalogVersionEntity, { version });
  return row === null ? null : parseCatalog(row.document);
}

export type Publication = CatalogDocument & {
  /** The version with which the diff was made. If another version is current by now, publishing is refused. */
  readonly after: number | null;
  readonly publishedBy: string;
  readonly nowMs: number;
};

/**
 * Writes a new version, and the price of each model whose price differs from the current one. Throws `CatalogRefusedError` when its
 * number is not above the published one, or when another operator was faster: the primary key decides between two that publish at
 * the same time.
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
      // TypeORM's type of a jsonb column requires known members. The parser has checked all of them.
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
    `version ${version ?? 'none'} was published in the meantime; nothing was written: check the difference again`,
  );
}
