import { COLLECTIONS, type CollectionName, readComparison } from '../../gateway/catalog/model-selection.js';
import type { PageFacts } from './page-facts.js';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asStaticPage } from '../../platform/http/pages/page-headers.js';
import { isNamedIn } from '../../platform/http/stored-answer.js';
import { sendProblem } from '../../platform/errors/problem.filter.js';
import { toProblem } from '../../platform/errors/to-problem.js';
import type { CatalogReaderService } from '../../gateway/catalog/catalog-reader.service.js';
import { findPriced } from '../../gateway/catalog/catalog-data.js';
import { comparePage } from './compare-page.js';
import type { PageDocument } from '../../platform/http/pages/document.js';
import { collectionPage, modelsPage, readModelFilter } from './list-pages.js';
import { modelPage } from './model-page.js';
import { missingPage } from './missing-page.js';
import { PageRenderer, type PageFormat, type RenderedPage, type RendererOptions } from './page-renderer.js';
import { pricingPage } from './pricing-page.js';
import { rankingsPage } from './rankings-page.js';

export type CatalogPagesOptions = RendererOptions & { readonly reader: CatalogReaderService };

/** A shared cache may keep a page for a minute, because the numbers on it may be that old anyway. */
const PAGE_CACHING = 'public, max-age=60';

/** Makes the page of a path; null when there is none. */
type PageMaker = (facts: PageFacts, request: PageRequest) => PageDocument | null;
type PageRequest = { readonly query: URLSearchParams; readonly params: Readonly<Record<string, string>> };

const FIXED_PAGES: Readonly<Record<string, PageMaker>> = {
  '/models': (facts, { query }) => modelsPage(facts, readModelFilter(facts, query)),
  '/compare': (facts, { query }) => comparePage(facts, readComparison(facts, query)),
  '/rankings': (facts) => rankingsPage(facts),
  '/pricing': (facts) => pricingPage(facts),
};

/** The pages in the sitemap, in addition to the models. */
const INDEXED: readonly string[] = [
  '/',
  ...Object.keys(FIXED_PAGES),
  ...Object.keys(COLLECTIONS).map((name) => `/collections/${name}`),
  '/docs',
];

const makeModelPage: PageMaker = (facts, { params }) => {
  const model = findPriced(facts, `${params['maker'] ?? ''}/${params['name'] ?? ''}`);
  return model === null ? null : modelPage(facts, model);
};

const makeCollectionPage: PageMaker = (facts, { params, query }) => {
  const name = Object.keys(COLLECTIONS).find((known) => known === params['name']);
  return name === undefined ? null : collectionPage(facts, name as CollectionName, query.get('maker'));
};

/** Adds the public pages, each also as Markdown. They are complete without JavaScript and load nothing from other hosts. */
export function addCatalogPages(fastify: FastifyInstance, { reader, ...options }: CatalogPagesOptions): void {
  const renderer = new PageRenderer(options);
  const serve = (make: PageMaker, format?: PageFormat) => (request: FastifyRequest, reply: FastifyReply) =>
    answer(request, reply, async () => {
      const data = await reader.read();
      const facts = renderer.toFacts(data);
      const asked = readRequest(request, format);
      const page = make(facts, asked);
      if (page === null)
        return { page: renderer.page(data, asked.format, 'missing', missingPage), status: 404 };
      // The page's own path contains its choices in one form, whatever the query of the request was.
      return { page: renderer.page(data, asked.format, toPageKey(page), () => page), status: 200 };
    });
  for (const [path, make] of Object.entries(FIXED_PAGES)) {
    fastify.get(path, serve(make, 'html'));
    fastify.get(`${path}.md`, serve(make, 'md'));
  }
  fastify.get('/models/:maker/:name', serve(makeModelPage));
  fastify.get('/collections/:name', serve(makeCollectionPage));
  fastify.get('/llms.txt', (request, reply) =>
    answer(request, reply, async () => ({ page: renderer.llms(await reader.read()), status: 200 })),
  );
  fastify.get('/sitemap.xml', (request, reply) =>
    answer(request, reply, async () => ({
      page: renderer.sitemap(await reader.read(), INDEXED),
      status: 200,
    })),
  );
}

/** The key includes the notices on a page (an unknown model in a comparison), which are not part of its path. */
function toPageKey(page: PageDocument): string {
  return `${page.path} ${JSON.stringify(page.opening)}`;
}

function readRequest(
  request: FastifyRequest,
  format?: PageFormat,
): PageRequest & { readonly format: PageFormat } {
  const query = new URL(request.url, 'http://localhost').searchParams;
  const { name = '', ...params } = request.params as Record<string, string>;
  if (format !== undefined) return { format, query, params };
  const isTwin = name.endsWith('.md');
  return {
    format: isTwin ? 'md' : 'html',
    query,
    params: { ...params, name: isTwin ? name.slice(0, -3) : name },
  };
}

type Answer = { readonly page: RenderedPage; readonly status: 200 | 404 };

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  work: () => Promise<Answer>,
): Promise<FastifyReply> {
  try {
    const { page, status } = await work();
    asStaticPage(reply).header('etag', page.etag).header('cache-control', PAGE_CACHING);
    if (status === 200 && isNamedIn(request.headers['if-none-match'], page.etag))
      return reply.code(304).send();
    return reply.code(status).type(page.type).send(page.body);
  } catch (error) {
    const problem = toProblem(error, request);
    request.problem = problem;
    sendProblem(reply, problem);
    return reply;
  }
}
