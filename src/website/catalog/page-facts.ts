import type { CatalogData } from '../../gateway/catalog/catalog-data.js';
import type { ApiFacts } from './api-facts.js';

/** What every page of the catalogue is made from. */
export type PageFacts = CatalogData & { readonly publicUrl: string; readonly api: ApiFacts };
