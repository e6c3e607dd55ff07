import { hash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asStaticPage } from '../../platform/http/answer-headers.js';
import { link, paragraph } from '../../platform/http/pages/document.js';
import { PageShell } from '../../platform/http/pages/page-shell.js';
import { renderHtml, type PageFrame } from '../../platform/http/pages/render-html.js';
import { markdownTwin, renderMarkdown } from '../../platform/http/pages/render-markdown.js';
import type { ApiDocument } from './api-document.js';
import { referencePages } from './reference-pages.js';

export type ReferenceOptions = {
  readonly frame: PageFrame;
  readonly buildDocument: () => object;
};

type Rendered = { readonly body: string; readonly etag: string; readonly type: string };

/** It changes only with the service itself, but behind one address: readers ask whether it has. */
const CACHING = 'public, no-cache';

/**
 * The API reference: plain pages written from the API document, a chapter a page. They need no script, so they are there
 * at once and can be read by everyone. Each has a Markdown twin.
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

/** It repeats nothing of the address. */
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
