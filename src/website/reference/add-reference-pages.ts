import { hash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asStaticPage } from '../../platform/http/pages/page-headers.js';
import { link, paragraph } from '../../platform/http/pages/document.js';
import { type PageFrame, PageShell, renderHtml } from '../../platform/http/pages/render-html.js';
import { markdownTwin, renderMarkdown } from '../../platform/http/pages/render-markdown.js';
import type { ApiDocument } from './api-document.js';
import { referencePages } from './reference-pages.js';

export type ReferenceOptions = {
  readonly frame: PageFrame;
  readonly buildDocument: () => object;
};

type Rendered = { readonly body: string; readonly etag: string; readonly type: string };

/** The pages change only with the service itself, but their paths stay the same, so browsers have to revalidate them. */
const CACHING = 'public, no-cache';

/**
 * Adds the API reference: plain pages that are made from the API document, one for each chapter. They need no script, so they appear at
 * once and can be read by all clients. Each page is also available as Markdown.
 */
export function addReferencePages(fastify: FastifyInstance, options: ReferenceOptions): void {
  let pages: ReadonlyMap<string, Rendered> | null = null;
  const answer = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    pages ??= renderAll(options);
    const path = request.url.split('?', 1)[0] ?? '';
    const page = pages.get(path);
    if (page === undefined) return missing(reply, options.frame);
    asStaticPage(reply).header('etag', page.etag).header('cache-control', CACHING);
    if (request.headers['if-none-match'] === page.etag) return reply.code(304).send();
    return reply.type(page.type).send(page.body);
  };
  fastify.get('/docs', answer);
  fastify.get('/docs.md', answer);
  fastify.get('/docs/:chapter', answer);
}

function renderAll({ frame, buildDocument }: ReferenceOptions): ReadonlyMap<string, Rendered> {
  const documents = referencePages(buildDocument() as ApiDocument, frame.publicUrl);
  return new Map(
    documents.flatMap((page): (readonly [string, Rendered])[] => [
      [page.path, rendered(renderHtml(page, frame), 'text/html; charset=utf-8')],
      [
        markdownTwin(page.path),
        rendered(renderMarkdown(page, frame.sandbox), 'text/markdown; charset=utf-8'),
      ],
    ]),
  );
}

/** Answers a path that does not exist, without repeating it. */
function missing(reply: FastifyReply, frame: PageFrame): FastifyReply {
  const page = new PageShell(frame).render({
    path: '/docs',
    title: 'Not found',
    heading: 'There is no such page',
    lead: 'The reference has no such chapter.',
    opening: [paragraph([link('API reference', '/docs')])],
  });
  return asStaticPage(reply).code(404).type('text/html; charset=utf-8').send(page);
}

function rendered(body: string, type: string): Rendered {
  return { body, type, etag: `"${hash('sha256', body, 'base64url').slice(0, 27)}"` };
}
