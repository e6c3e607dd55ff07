import { escapeHtml, page } from './page.js';

export type LandingPageFacts = {
  /** Outside parts that a stand-in plays. */
  readonly simulated: readonly string[];
  readonly publicUrl: string;
};

const PART_NAMES: Readonly<Record<string, string>> = {
  stripe: 'Stripe',
  'black-forest-labs': 'Black Forest Labs',
};

const LINKS = [
  ['/docs', 'API reference', 'Every route, error and example, to try from this page.'],
  ['/openapi.json', 'OpenAPI 3.1 document', 'For generating clients and for tools.'],
  ['/health/ready', 'Readiness', 'Whether the ledger answers and requests are welcome.'],
  ['/metrics', 'Metrics', 'For Prometheus: requests, the wallet engine, the process.'],
] as const;

/** What somebody sees who opens the service in a browser. Works without JavaScript. */
export function landingPage(facts: LandingPageFacts): string {
  return page(
    'Coffer',
    `<main>
${banner(facts.simulated)}<h1>Coffer</h1>
<p class="lead">Prepaid credit in front of an OpenAI-compatible image API.</p>
<p>Top up once, then pay per delivered image: no subscription, no fee per call, nothing for a call that failed.
When the credit is used up the next call is refused, never one too many let through.</p>
<ul class="links">
${LINKS.map(([href, name, what]) => `<li><a href="${href}"><b>${name}</b><span>${what}</span></a></li>`).join('\n')}
</ul>
<h2>First call</h2>
<pre>curl ${escapeHtml(facts.publicUrl)}/v1/wallet \\
  -H "Authorization: Bearer $COFFER_API_KEY"</pre>
</main>`,
  );
}

function banner(simulated: readonly string[]): string {
  if (simulated.length === 0) return '';
  const names = simulated.map((part) => escapeHtml(PART_NAMES[part] ?? part)).join(' and ');
  return `<p class="banner" role="note"><b>Sandbox.</b> ${names} ${simulated.length === 1 ? 'is' : 'are'} simulated on this
machine: no real money moves there and nothing leaves this computer.</p>
`;
}
