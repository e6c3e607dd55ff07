import { code, link, paragraph, type PageDocument } from '../platform/http/pages/document.js';

const LINKS = [
  ['/models', 'Models', 'What can be generated with, and what an image costs.'],
  ['/pricing', 'Pricing', 'Prices per image, and what a top-up costs.'],
  ['/docs', 'API reference', 'Every route, field, error and example.'],
  ['/openapi.json', 'OpenAPI 3.1 document', 'For generating clients and for tools.'],
  ['/llms.txt', 'llms.txt', 'The same for a language model.'],
] as const;

/** The page that is shown at `/` in a browser. */
export function landingPage(publicUrl: string): PageDocument {
  return {
    path: '/',
    title: 'Coffer: prepaid credit for an image API',
    description: 'Prepaid credit in front of an OpenAI-compatible image API: pay per delivered image.',
    eyebrow: [],
    heading: 'Coffer',
    lead: 'Prepaid credit in front of an OpenAI-compatible image API.',
    badges: [],
    opening: [
      paragraph(
        'Top up once, then pay per delivered image: no subscription, no fee per call, nothing for a call that failed. ' +
          'When the credit is used up the next call is refused, never one too many let through.',
      ),
      {
        kind: 'list',
        items: LINKS.map(([href, name, what]) => [link(name, href), `: ${what}`]),
      },
    ],
    sections: [
      {
        id: 'first-call',
        heading: 'First call',
        blocks: [
          paragraph(['Put your API key into ', code('COFFER_API_KEY'), '. The answer is your balance.']),
          {
            kind: 'code',
            title: 'curl',
            language: 'sh',
            text: `curl ${publicUrl}/v1/wallet \\\n  -H "Authorization: Bearer $COFFER_API_KEY"`,
          },
        ],
      },
    ],
    jsonPath: null,
    area: null,
  };
}
