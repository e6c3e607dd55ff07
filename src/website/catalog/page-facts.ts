import type { CatalogData } from '../../gateway/catalog/catalog-data.js';
import type { ApiFacts } from './api-facts.js';

/** The facts from which every page of the catalogue is made. */
export type PageFacts = CatalogData & { readonly publicUrl: string; readonly api: ApiFacts };
