import type { FastifyInstance, FastifyReply } from 'fastify';
import { asStaticPage } from '../platform/http/pages/page-headers.js';
import { StoredAnswer } from '../platform/http/stored-answer.js';
import { ICON, ICON_PATH, ICON_PNG, sandboxSentence } from '../platform/http/pages/page.js';
import { renderHtml } from '../platform/http/pages/render-html.js';
import { STYLE, STYLE_PATH } from '../platform/http/pages/style.js';
import { addConsolePage } from './console-page.js';
import { addReferencePages } from './reference/add-reference-pages.js';
import { landingPage } from './landing-page.js';

export type PageOptions = {
  /** The external services that are simulated. */
  readonly simulated: readonly string[];
  readonly publicUrl: string;
  /** Called by the first reader, because building the document would take a noticeable part of the start-up time. */
  readonly buildDocument: () => object;
};

/** For files whose name contains the hash of their content. */
const HASHED_CACHING = 'public, max-age=31536000, immutable';
/** For files whose name stays the same and whose content changes rarely. */
const DAY_CACHING = 'public, max-age=86400';
/** For content that changes only with the service itself. */
const DOCUMENT = { type: 'application/json; charset=utf-8', cacheControl: 'public, max-age=300' };

/** Adds the pages and files about the service. Everything else is the API. */
export function addPages(fastify: FastifyInstance, options: PageOptions): void {
  const { publicUrl, simulated } = options;
  const frame = { publicUrl, sandbox: sandboxSentence(simulated) };
  const landing = renderHtml(landingPage(publicUrl), frame);
  let document: Promise<StoredAnswer> | null = null;
  fastify.get('/', (_request, reply) => asStaticPage(reply).type('text/html; charset=utf-8').send(landing));
  fastify.get('/openapi.json', async (request, reply) => {
    document ??= StoredAnswer.create(JSON.stringify(options.buildDocument()), DOCUMENT);
    const stored = await document;
    return stored.send(request, reply.header('access-control-allow-origin', '*'));
  });
  const file = (path: string, type: string, caching: string, content: string | Buffer): void => {
    fastify.get(path, (_request, reply): FastifyReply =>
      reply.type(type).header('cache-control', caching).send(content),
    );
  };
  file(STYLE_PATH, 'text/css; charset=utf-8', HASHED_CACHING, STYLE);
  file(ICON_PATH, 'image/svg+xml', HASHED_CACHING, ICON);
  file('/favicon.ico', 'image/png', DAY_CACHING, ICON_PNG);
  file('/robots.txt', 'text/plain; charset=utf-8', DAY_CACHING, robotsText(publicUrl));
  addReferencePages(fastify, { frame, buildDocument: options.buildDocument });
  addConsolePage(fastify, simulated);
}

/** Crawlers may read the pages, but not the data, the pages of single visitors and the console. */
function robotsText(publicUrl: string): string {
  const closed = ['/v1/', '/checkout/', '/alerts/', '/docs/console'];
  return [
    'User-agent: *',
    ...closed.map((path) => `Disallow: ${path}`),
    '',
    `Sitemap: ${publicUrl}/sitemap.xml`,
    '',
  ].join('\n');
}
