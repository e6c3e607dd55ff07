import { readFile } from 'node:fs/promises';
import { CATALOG_FILE } from '../../../src/gateway/catalog/versions/catalog-file.js';
import { InvalidCatalogError, parseCatalog } from '../../../src/gateway/catalog/versions/parse-catalog.js';

type Json = Record<string, unknown>;
const source = await readFile(CATALOG_FILE, 'utf8');

/** The catalogue file of this release, for a test to change. */
export function freshDocument(): { version: number; makers: Json[]; models: [Json, ...Json[]] } {
  return JSON.parse(source) as never;
}

/** The places that a document's faults name; empty when it is a catalogue. */
export function faultsOf(document: unknown): readonly string[] {
  try {
    parseCatalog(document);
    return [];
  } catch (error) {
    if (error instanceof InvalidCatalogError) return error.faults;
    throw error;
  }
}
