import type { FastifyInstance } from 'fastify';
import { asPage } from '../answer-headers.js';
import { addDocsPage } from './docs-page.js';
import { landingPage, type LandingPageFacts } from './landing-page.js';

export type PageOptions = LandingPageFacts & {
  /** Called at most once, by the first reader: building the document takes a noticeable part of a start. */
  readonly buildDocument: () => object;
};

/** What a person or a tool reads about the service; everything else is the API. */
export function addPages(fastify: FastifyInstance, options: PageOptions): void {
  const landing = landingPage(options);
  let document: string | null = null;
  fastify.get('/', (_request, reply) => asPage(reply).type('text/html; charset=utf-8').send(landing));
  fastify.get('/openapi.json', (_request, reply) => {
    document ??= JSON.stringify(options.buildDocument());
    return reply
      .type('application/json; charset=utf-8')
      .header('access-control-allow-origin', '*')
      .send(document);
  });
  addDocsPage(fastify, options.simulated);
}
