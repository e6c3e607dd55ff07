import { escapeHtml, PAGE_STYLE, renderPage } from './page.js';
import { BANNER_STYLE, sandboxBanner } from './sandbox-banner.js';

export type LandingPageFacts = {
  /** Outside parts that a stand-in plays. */
  readonly simulated: readonly string[];
  readonly publicUrl: string;
  /** Whether everybody may read the metrics here. */
  readonly metricsAreOpen: boolean;
};

const LINKS = [
  ['/models', 'Models', 'What can be generated with, and what an image costs.'],
  ['/pricing', 'Pricing', 'Prices per image, and what a top-up costs.'],
  ['/docs', 'API reference', 'Every route, error and example, to try from this page.'],
  ['/openapi.json', 'OpenAPI 3.1 document', 'For generating clients and for tools.'],
  ['/health/ready', 'Readiness', 'Whether the ledger answers and requests are welcome.'],
  ['/metrics', 'Metrics', 'For Prometheus: requests, the wallet engine, the process.'],
] as const;

/** What somebody sees who opens the service in a browser. Works without JavaScript. */
export function landingPage(facts: LandingPageFacts): string {
  const links = LINKS.filter(([href]) => href !== '/metrics' || facts.metricsAreOpen);
  const body = `<main>
${sandboxBanner(facts.simulated)}<h1>Coffer</h1>
<p class="lead">Prepaid credit in front of an OpenAI-compatible image API.</p>
<p>Top up once, then pay per delivered image: no subscription, no fee per call, nothing for a call that failed.
When the credit is used up the next call is refused, never one too many let through.</p>
<ul class="links">
${links.map(([href, name, what]) => `<li><a href="${href}"><b>${name}</b><span>${what}</span></a></li>`).join('\n')}
</ul>
<h2>First call</h2>
<pre>curl ${escapeHtml(facts.publicUrl)}/v1/wallet \\
  -H "Authorization: Bearer $COFFER_API_KEY"</pre>
</main>`;
  return renderPage({ title: 'Coffer', body, style: PAGE_STYLE + BANNER_STYLE });
}
