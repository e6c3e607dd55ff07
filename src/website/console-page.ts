import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { asPage } from '../platform/http/pages/page-headers.js';
import { renderPage, BANNER_STYLE, sandboxBanner } from '../platform/http/pages/page.js';

const ASSETS_PREFIX = '/docs/console/';
/** The files of the package that the page loads. The others are not served, because its sample page would be a second, open console. */
const ASSETS = [
  ['swagger-ui.css', 'text/css; charset=utf-8'],
  ['swagger-ui-bundle.js', 'text/javascript; charset=utf-8'],
  ['favicon-32x32.png', 'image/png'],
] as const;
/** The files change only with the service itself. */
const ASSET_CACHING = 'public, max-age=3600';

/** This is a separate file, because the page's policy refuses scripts inside the document. */
const START_SCRIPT = `
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
SwaggerUIBundle({
  url: '/openapi.json', dom_id: '#reference', deepLinking: true, tryItOutEnabled: true, persistAuthorization: false,
  displayRequestDuration: true, defaultModelsExpandDepth: 0, docExpansion: 'none',
});
`;

const HEAD = `
<link rel="icon" href="${ASSETS_PREFIX}favicon-32x32.png">
<link rel="stylesheet" href="${ASSETS_PREFIX}swagger-ui.css">
<script src="${ASSETS_PREFIX}swagger-ui-bundle.js" defer></script>
<script src="/docs/console/start.js" defer></script>`;

/** Swagger UI has its own style; this is the style around it. */
const STYLE = `
:root { color-scheme: light dark; }
body { margin: 0; }
.sandbox-banner { margin: 1.25rem; }
.back { margin: 1rem 1.25rem 0; font: 1rem/1.6 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { body { background: #1c2022; } .back a { color: #f2bd55; } }
noscript p { padding: 1.25rem; font: 1rem/1.6 system-ui, sans-serif; }
`;

const BODY = `<p class="back"><a href="/docs">Back to the reference</a></p>
<noscript><p>The console needs JavaScript.
The <a href="/docs">reference</a> does not.</p></noscript>
<div id="reference"></div>`;

/**
 * Adds Swagger UI, in which calls can be tried from the browser. Every file is served from here. It is 1.9 MB of JavaScript and takes
 * seconds to start, so the documentation to read is the reference (`reference/`), and the console is a separate page.
 */
export function addConsolePage(fastify: FastifyInstance, simulated: readonly string[]): void {
  const body = sandboxBanner(simulated) + BODY;
  const html = renderPage({ title: 'Coffer API console', body, style: BANNER_STYLE + STYLE, head: HEAD });
  const directory = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  fastify.get('/docs/console', (_request, reply) =>
    asPage(reply).type('text/html; charset=utf-8').send(html),
  );
  fastify.get('/docs/console/start.js', (_request, reply) =>
    reply.type('text/javascript; charset=utf-8').send(START_SCRIPT),
  );
  for (const [name, type] of ASSETS) {
    fastify.get(`${ASSETS_PREFIX}${name}`, async (_request, reply) =>
      reply
        .type(type)
        .header('cache-control', ASSET_CACHING)
        .send(await readFile(join(directory, name))),
    );
  }
}
