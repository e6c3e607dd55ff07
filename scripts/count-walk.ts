/**
 * Counts the files of `src/` that run between a request and its answer, and prints them in their order: for a paid image call, a debit,
 * and from Stripe's webhook to the credit (`npm run walk`). The simulators are outside of `src/` and do not count. Each walk is taken three times, each
 * time by a new customer; a file counts when it ran every time, so what the process does by itself at the same time is left out. With
 * --write, docs/ARCHITECTURE.md shows them (`npm run walk -- --write`).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startTestServer } from '../test/support/database/postgres-server.js';
import { startTestApp, type TestApp } from '../test/support/app/test-app.js';
import { openPage, payPage } from '../test/fixtures/top-up-books.js';

const TIMES = 3;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
/** A reader cannot follow more files than this. */
const AT_MOST = { 'A paid image call': 50, 'From a webhook to the credit': 30, 'A debit': 25 } as const;

const DOCUMENT = fileURLToPath(new URL('../docs/ARCHITECTURE.md', import.meta.url));
const BEGIN = '<!-- counted by `npm run walk -- --write` -->';
const END = '<!-- end of the count -->';

type Walk = keyof typeof AT_MOST;
type Noting = typeof globalThis & { noteWalk?: (file: string) => void };

async function take(walk: () => Promise<unknown>): Promise<string[]> {
  const files = new Set<string>();
  (globalThis as Noting).noteWalk = (file) => files.add(file);
  try {
    await walk();
  } finally {
    delete (globalThis as Noting).noteWalk;
  }
  return [...files];
}

async function takeEachTime(prepare: () => Promise<() => Promise<unknown>>): Promise<string[]> {
  const walks: string[][] = [];
  for (let time = 0; time < TIMES; time += 1) walks.push(await take(await prepare()));
  const [first = [], ...others] = walks;
  return first.filter((file) => others.every((other) => other.includes(file)));
}

async function imageCall(app: TestApp) {
  const { client } = await app.createCustomer({ grantMicros: 1_000_000n });
  return async () =>
    (await client.post('/v1/images/generations', { model: MODEL, prompt: 'a fox' })).expect(200);
}

async function debit(app: TestApp) {
  const { accountId } = await app.createCustomer({ grantMicros: 1_000_000n });
  const body = { account: accountId, reference: `walk-${accountId}`, model: MODEL, images: 1 };
  return async () => (await app.operator.post('/v1/debits', body)).expect(201);
}

async function main(): Promise<void> {
  const server = await startTestServer();
  const app = await startTestApp({ blackForestLabs: true });
  const shop = await startTestApp({ stripe: true });
  try {
    const walks: Record<Walk, string[]> = {
      'A paid image call': await takeEachTime(() => imageCall(app)),
      'A debit': await takeEachTime(() => debit(app)),
      'From a webhook to the credit': await takeEachTime(() => webhook(shop)),
    };
    for (const [walk, files] of Object.entries(walks)) {
      console.log(`\n${walk}: ${files.length} files (at most ${AT_MOST[walk as Walk]})`);
      for (const [index, file] of files.entries()) console.log(`${String(index + 1).padStart(4)}  ${file}`);
    }
    if (process.argv.includes('--write')) write(walks);
  } finally {
    await Promise.all([app.close(), shop.close()]);
    await server.stop();
  }
}

function write(walks: Readonly<Record<Walk, readonly string[]>>): void {
  const document = readFileSync(DOCUMENT, 'utf8');
  const [before, rest = ''] = document.split(BEGIN);
  const [, after] = rest.split(END);
  if (before === undefined || after === undefined) throw new Error(`${DOCUMENT} lacks ${BEGIN} or ${END}`);
  writeFileSync(DOCUMENT, `${before}${BEGIN}\n\n${describe(walks)}\n${END}${after}`);
}

/** A list for each walk. Files of one folder that run one after the other share a line. */
function describe(walks: Readonly<Record<Walk, readonly string[]>>): string {
  return Object.entries(walks)
    .map(([walk, files]) => {
      const steps: { readonly folder: string; readonly names: string[] }[] = [];
      for (const file of files) {
        const cut = file.lastIndexOf('/');
        const [folder, name] = [file.slice(0, cut), file.slice(cut + 1)];
        const last = steps.at(-1);
        if (last?.folder === folder) last.names.push(name);
        else steps.push({ folder, names: [name] });
      }
      const lines = steps.map(
        ({ folder, names }, index) =>
          `${index + 1}. \`${folder}/\`: ${names.map((name) => `\`${name}\``).join(', ')}`,
      );
      return `**${walk}: ${files.length} files** (at most ${AT_MOST[walk as Walk]})\n\n${lines.join('\n')}\n`;
    })
    .join('\n');
}

/** Stripe sends other events of the same payment in webhooks of their own, which credit nothing. The simulator keeps them back. */
const OTHER_EVENTS = [
  'charge.succeeded',
  'charge.updated',
  'payment_intent.created',
  'payment_intent.succeeded',
];

async function webhook(shop: TestApp) {
  shop.stripe?.control.setWebhookFaults({ loseEvents: true, onlyTypes: OTHER_EVENTS });
  const customer = await shop.createCustomer();
  const page = await openPage(customer, { credit_cents: 1_000 });
  return () => payPage(shop, page);
}

await main();
process.exit(process.exitCode ?? 0);
