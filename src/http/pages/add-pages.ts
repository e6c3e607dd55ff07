import type { FastifyInstance } from 'fastify';
import { asPage } from '../answer-headers.js';
import { StoredAnswer } from '../stored-answer.js';
import { addDocsPage } from './docs-page.js';
import { landingPage, type LandingPageFacts } from './landing-page.js';

export type PageOptions = LandingPageFacts & {
  /** Called at most once, by the first reader: building the document takes a noticeable part of a start. */
  readonly buildDocument: () => object;
};

/** It changes only with the service itself. */
const DOCUMENT = { type: 'application/json; charset=utf-8', cacheControl: 'public, max-age=300' };

/** What a person or a tool reads about the service; everything else is the API. */
export function addPages(fastify: FastifyInstance, options: PageOptions): void {
  const landing = landingPage(options);
  let document: Promise<StoredAnswer> | null = null;
  fastify.get('/', (_request, reply) => asPage(reply).type('text/html; charset=utf-8').send(landing));
  fastify.get('/openapi.json', async (request, reply) => {
    document ??= StoredAnswer.of(JSON.stringify(options.buildDocument()), DOCUMENT);
    const stored = await document;
    return stored.send(request, reply.header('access-control-allow-origin', '*'));
  });
  addDocsPage(fastify, options.simulated);
}
