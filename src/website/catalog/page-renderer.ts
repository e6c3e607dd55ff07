import type { PageFacts } from './page-facts.js';
import { modelPath, type CatalogData } from '../../gateway/catalog/catalog-data.js';
import { markup } from '../../platform/http/pages/markup.js';
import type { ApiFacts } from './api-facts.js';
import { etagFor } from '../../platform/http/etag.js';
import type { PageDocument } from '../../platform/http/pages/document.js';
import { llmsText } from './llms-text.js';
import { renderHtml } from '../../platform/http/pages/render-html.js';
import { renderMarkdown } from '../../platform/http/pages/render-markdown.js';

export type PageFormat = 'html' | 'md';

export type RenderedPage = { readonly body: string; readonly etag: string; readonly type: string };

export type RendererOptions = {
  readonly publicUrl: string;
  /** Names the parts that are simulated; null when none is. */
  readonly sandbox: string | null;
  /** Read from the API document, by the first page that is shown. */
  readonly readApi: () => ApiFacts;
};

/** A visitor chooses the query, so the number of different pages has a bound. */
const KEPT_MAX = 300;

/** Renders pages, each once until something that it says has changed. */
export class PageRenderer {
  private readonly kept = new Map<string, RenderedPage>();
  private revision = '';
  private api: ApiFacts | null = null;

  constructor(private readonly options: RendererOptions) {}

  factsOf(data: CatalogData): PageFacts {
    this.api ??= this.options.readApi();
    return { ...data, api: this.api, publicUrl: this.options.publicUrl };
  }

  /** `make` is called when the page is not at hand; `key` names it, the choices of its query included. */
  page(data: CatalogData, format: PageFormat, key: string, make: () => PageDocument): RenderedPage {
    return this.keep(data, `${format} ${key}`, () => {
      const { publicUrl, sandbox } = this.options;
      return format === 'md'
        ? rendered(renderMarkdown(make(), sandbox), 'text/markdown; charset=utf-8')
        : rendered(renderHtml(make(), { publicUrl, sandbox }), 'text/html; charset=utf-8');
    });
  }

  llms(data: CatalogData): RenderedPage {
    // Plain text, which browsers show; its form is Markdown all the same.
    return this.keep(data, 'llms', () =>
      rendered(llmsText(this.factsOf(data), this.options.sandbox), 'text/plain; charset=utf-8'),
    );
  }

  /** `/sitemap.xml`: these pages and those of the models. */
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
    const revision = revisionOf(data);
    if (revision !== this.revision || this.kept.size >= KEPT_MAX) this.kept.clear();
    this.revision = revision;
    const known = this.kept.get(key);
    if (known !== undefined) return known;
    const page = render();
    this.kept.set(key, page);
    return page;
  }
}

/** Everything that can change while the process runs. */
function revisionOf({ version, models, ranking }: CatalogData): string {
  return [version, ...models.map(({ price }) => price.id), ranking.asOfMs].join(' ');
}

function rendered(body: string, type: string): RenderedPage {
  return { body, type, etag: etagFor(body) };
}
