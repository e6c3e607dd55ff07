import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseCatalog } from './parse-catalog.js';
import type { Catalog } from '../catalog.js';

/** The checked file of this release. The same relative place from src/gateway/catalog/versions and from dist. */
export const CATALOG_FILE = fileURLToPath(new URL('../../../../catalog/models.json', import.meta.url));

/** Far above what a catalogue can hold; a wrong file must not be read into memory whole. */
const FILE_BYTES_MAX = 4 * 1_048_576;

/** A catalogue as it stands in a file, with the document that will be stored. */
export type CatalogDocument = { readonly catalog: Catalog; readonly document: unknown };

/** Throws when the file cannot be read or is no JSON, and `InvalidCatalogError` when it is no catalogue. */
export async function readCatalogFile(path: string = CATALOG_FILE): Promise<CatalogDocument> {
  const bytes = await readFile(path);
  if (bytes.length > FILE_BYTES_MAX) throw new Error(`${path} is too large to be a catalogue`);
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new Error(`${path} is not valid JSON`, { cause: error });
  }
  return { catalog: parseCatalog(document), document };
}
