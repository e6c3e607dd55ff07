import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseCatalog } from './parse-catalog.js';
import type { Catalog } from '../catalog.js';

/** The catalogue file of this release. The relative path is the same from src/gateway/catalog/versions and from dist. */
export const CATALOG_FILE = fileURLToPath(new URL('../../../../catalog/models.json', import.meta.url));

/** No catalogue is this large. The limit prevents a wrong file from being read into memory. */
const FILE_BYTES_MAX = 4 * 1_048_576;

/** A catalogue that was read from a file, with the document that will be stored. */
export type CatalogDocument = { readonly catalog: Catalog; readonly document: unknown };

/** Throws when the file cannot be read or is not JSON, and `InvalidCatalogError` when it is not a valid catalogue. */
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
