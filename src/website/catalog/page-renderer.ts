import type { PageFacts } from './page-facts.js';
import { modelPath, type CatalogData } from '../../gateway/catalog/catalog-data.js';
import { markup } from '../../platform/http/pages/markup.js';
import type { ApiFacts } from './api-facts.js';
import { etagFor } from '../../platform/http/stored-answer.js';
import type { PageDocument } from '../../platform/http/pages/document.js';
import { llmsText } from './llms-text.js';
import { renderHtml } from '../../platform/http/pages/render-html.js';
import { renderMarkdown } from '../../platform/http/pages/render-markdown.js';

export type PageFormat = 'html' | 'md';

export type RenderedPage = { readonly body: string; readonly etag: string; readonly type: string };

export type RendererOptions = {
  readonly publicUrl: string;
  /** Names the external services that are simulated; null when none is. */
  readonly sandbox: string | null;
  /** Reads the API document when the first page is shown. */
  readonly readApi: () => ApiFacts;
};

/** Visitors choose the query, so the number of cached pages has to be limited. */
const KEPT_MAX = 300;

/** Renders pages, and caches each one until its data has changed. */
export class PageRenderer {
  private readonly kept = new Map<string, RenderedPage>();
  private revision = '';
  private api: ApiFacts | null = null;

  constructor(private readonly options: RendererOptions) {}

  toFacts(data: CatalogData): PageFacts {
    this.api ??= this.options.readApi();
    return { ...data, api: this.api, publicUrl: this.options.publicUrl };
  }

  /** Calls `make` when the page is not cached. `key` identifies the page, including the choices in its query. */
  page(data: CatalogData, format: PageFormat, key: string, make: () => PageDocument): RenderedPage {
    return this.keep(data, `${format} ${key}`, () => {
      const { publicUrl, sandbox } = this.options;
      return format === 'md'
        ? rendered(renderMarkdown(make(), sandbox), 'text/markdown; charset=utf-8')
        : rendered(renderHtml(make(), { publicUrl, sandbox }), 'text/html; charset=utf-8');
    });
  }

  llms(data: CatalogData): RenderedPage {
    // It is Markdown, but sent as plain text, which browsers show.
    return this.keep(data, 'llms', () =>
      rendered(llmsText(this.toFacts(data), this.options.sandbox), 'text/plain; charset=utf-8'),
    );
  }

  /** Makes `/sitemap.xml` with these pages and those of the models. */
  sitemap(data: CatalogData, paths: readonly string[]): RenderedPage {
    return this.keep(data, 'sitemap', () => {
      const urls = [...paths, ...data.models.map(modelPath)].map(
        (path) => markup`<url><loc>${this.options.publicUrl}${path}</loc></url>\n`,
      );
      const body = markup`<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
${urls}</urlset>
`;
      return rendered(body.text, 'application/xml; charset=utf-8');
    });
  }

  private keep(data: CatalogData, key: string, render: () => RenderedPage): RenderedPage {
    const revision = toRevision(data);
    if (revision !== this.revision || this.kept.size >= KEPT_MAX) this.kept.clear();
    this.revision = revision;
    const known = this.kept.get(key);
    if (known !== undefined) return known;
    const page = render();
    this.kept.set(key, page);
    return page;
  }
}

/** Identifies everything that can change while the process runs. */
function toRevision({ version, models, ranking }: CatalogData): string {
  return [version, ...models.map(({ price }) => price.id), ranking.asOfMs].join(' ');
}

function rendered(body: string, type: string): RenderedPage {
  return { body, type, etag: etagFor(body) };
}
