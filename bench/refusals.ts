import { Pool } from 'undici';
import { ACCOUNT_SCOPES } from '../src/identity/auth/principal.js';
import { newId } from '../src/platform/common/ids.js';
import { micros } from '../src/platform/common/money.js';
import { EDIT_BODY_BYTES_MAX } from '../src/gateway/images/edits/edit-body.js';
import { BODY_LIMIT_BYTES } from '../src/platform/http/request-bodies.js';
import {
  COMPLEX_BODIES,
  documentedRoutes,
  hostileHeads,
  largeBodies,
  PAGES,
  type Route,
} from '../test/support/hostile-requests.js';
import { hostilePictures, undecodablePictures } from '../test/support/images/hostile-pictures.js';
import {
  BOUNDARY,
  claiming,
  form,
  FORM_TYPE,
  image,
  noise,
  type Part,
} from '../test/support/images/edit-bodies.js';
import { escapedEdits } from '../test/support/images/escaped-edits.js';
import type { CleanUp } from './clean-up.js';
import { cpuMsOf } from './cpu.js';
import { createLedger, creditOf, startCluster, withEngine } from './ledgers.js';
import { table } from './report.js';
import { makeAccountKey, OPERATOR_KEY, startService, type Server } from './servers.js';

/** The clock of a process ticks every 10 ms, so each request is repeated until its share can be measured. */
const REPEATS = 8;
const WARM_UP = 200;
const SHOWN_MAX = 10;

export type Refusal = {
  readonly request: string;
  readonly bodyBytes: number;
  /** Of the answers, of which there is one in almost every row. */
  readonly statuses: readonly number[];
  /** Of the service, a request. */
  readonly cpuMs: number;
  readonly kind: Kind;
};

/** Bodies of an ordinary size, those that only edits take, and of these what only a decoder can refuse. */
type Kind = 'ordinary' | 'large' | 'undecodable';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const FIELDS: readonly Part[] = [
  { name: 'model', content: MODEL },
  { name: 'prompt', content: 'a fox' },
];

type Sent = {
  readonly name: string;
  readonly route: Route;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer | null;
  /** Only a decoder can refuse it. */
  readonly isUndecodable?: true;
};

/** More than the other members of an edit's JSON take. */
const BYTES_WITHOUT_IMAGES = 1_000;

/** Of one request. */
const CPU_MS_MAX = 50;

/**
 * What the service spends on a request that it refuses: every documented route and every page, with the largest and most
 * intricate bodies, queries, path parameters and headers that it can be sent, one at a time.
 */
export async function measureRefusals(options: {
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
}): Promise<readonly Refusal[]> {
  const { dir, cleanUp, say } = options;
  const cluster = await startCluster(dir, 'refusals', cleanUp);
  const ledger = await createLedger(cluster, 'bench_refusals', 1);
  const { url } = ledger;
  // Each refused webhook is a warning.
  const service = await startService(ledger, cleanUp, {
    LOG_LEVEL: 'error',
    // A forged event is refused by its signature, so Stripe is never asked.
    STRIPE_SECRET_KEY: 'sk_test_refusals',
    STRIPE_WEBHOOK_SECRET: 'whsec_refusals',
    STRIPE_API_BASE: 'http://127.0.0.1:9',
  });
  const account = await makeAccountKey(service, await makeAccount(url), ACCOUNT_SCOPES);
  const keys = { operator: OPERATOR_KEY, account };
  const pool = new Pool(service.url, { connections: 1 });
  cleanUp.add(() => pool.destroy());
  const send = (request: Sent): Promise<number> => sendOnce(pool, request, keys);
  const requests = [...[...documentedRoutes(), ...PAGES].flatMap(hostileTo), ...(await hostileEdits())];
  say(`${requests.length} kinds of requests, ${REPEATS} of each`);
  for (const request of requests.slice(0, WARM_UP)) await send(request);
  const refusals: Refusal[] = [];
  for (const request of requests) refusals.push(await measure(service, request, send));
  return refusals;
}

/** Markdown. */
export function refusalTable(refusals: readonly Refusal[]): string {
  const of = (wanted: Kind): readonly Refusal[] =>
    dearestFirst(refusals.filter(({ kind }) => kind === wanted));
  const [ordinary, large, undecodable] = [of('ordinary'), of('large'), of('undecodable')];
  const row = ({ request, bodyBytes, statuses, cpuMs }: Refusal): string[] => {
    return [request, (bodyBytes / 1e6).toFixed(1), statuses.join(', '), cpuMs.toFixed(1)];
  };
  const aim = (what: string, measured: readonly Refusal[]): string[] => {
    const maxMs = Math.max(...measured.map(({ cpuMs }) => cpuMs));
    return [
      `${what}: at most ${CPU_MS_MAX} ms`,
      `${maxMs.toFixed(1)} ms`,
      maxMs <= CPU_MS_MAX ? 'reached' : 'NOT REACHED',
    ];
  };
  return [
    table(
      [`the dearest of ${refusals.length} kinds of requests`, 'MB', 'status', 'CPU ms'],
      [...ordinary.slice(0, SHOWN_MAX), ...large.slice(0, SHOWN_MAX), ...undecodable].map(row),
    ),
    table(
      ['aim', 'measured', ''],
      [
        aim('bodies of up to 1 MiB, queries, headers', ordinary),
        aim('edits of up to 32 MiB, their pictures not decoded', large),
      ],
    ),
  ].join('\n\n');
}

/** Whether no request costs more than it may. What has to be decoded costs what a whole picture does, and is only reported. */
export function areCheap(refusals: readonly Refusal[]): boolean {
  return refusals.every(({ kind, cpuMs }) => kind === 'undecodable' || cpuMs <= CPU_MS_MAX);
}

function dearestFirst(refusals: readonly Refusal[]): readonly Refusal[] {
  return [...refusals].sort((one, other) => other.cpuMs - one.cpuMs);
}

async function measure(
  service: Server,
  request: Sent,
  send: (request: Sent) => Promise<number>,
): Promise<Refusal> {
  const statuses = new Set<number>();
  const before = cpuMsOf(service.pid);
  for (let round = 0; round < REPEATS; round += 1) statuses.add(await send(request));
  const cpuMs = (cpuMsOf(service.pid) - before) / REPEATS;
  const bodyBytes = request.body === null ? 0 : Buffer.byteLength(request.body);
  const size = bodyBytes <= BODY_LIMIT_BYTES ? 'ordinary' : 'large';
  const kind = request.isUndecodable === true ? 'undecodable' : size;
  return { request: request.name, bodyBytes, statuses: [...statuses], cpuMs, kind };
}

function hostileTo(route: Route): Sent[] {
  const name = `${route.method} ${route.template}`;
  const heads = hostileHeads(route).map((head): Sent => {
    return { ...head, name: `${name}: ${head.name}`, route, body: null };
  });
  const bodies = [...Object.entries(COMPLEX_BODIES), ...(route.members ?? []).flatMap(entriesFor)];
  const isStripe = route.path === '/webhooks/stripe';
  const headers: Record<string, string> = isStripe ? { 'stripe-signature': FORGED } : {};
  return [
    ...heads,
    ...(route.members === null ? [] : bodies).map(([kind, body]): Sent => {
      const type = { 'content-type': 'application/json' };
      return { name: `${name}: ${kind}`, route, path: route.path, headers: { ...type, ...headers }, body };
    }),
  ];
}

/** Of now, so that the whole body is hashed before it is refused. */
const FORGED = `t=${Math.trunc(Date.now() / 1_000)},v1=${'0'.repeat(64)}`;

/** As many items as a batch of debits takes, each of which is refused by itself. */
const BATCH = JSON.stringify({
  debits: Array.from({ length: 1_000 }, () => ({ account: 'none', images: 0 })),
});

function entriesFor(member: string): [string, string][] {
  const bodies = Object.entries(largeBodies(member));
  if (member === 'debits') bodies.push(['1,000 wrong debits', BATCH]);
  return bodies.map(([kind, body]) => [`${kind} (${member})`, body]);
}

/** The bodies that only edits take: forms, and up to 32 MiB. */
async function hostileEdits(): Promise<Sent[]> {
  const route = documentedRoutes().find(({ path }) => path === '/v1/images/edits');
  if (route === undefined) throw new Error('there is no route for edits');
  const bytes = Buffer.alloc(20_000_000, 'x');
  const inside = (head: Buffer): Buffer => Buffer.concat([head, Buffer.alloc(20_000_000 - head.length)]);
  const large = await noise(2_400, 2_000).png().toBuffer();
  const forms: [string, Buffer][] = [
    [
      'a hundred thousand parts',
      form(Array.from({ length: 100_000 }, (_, index) => ({ name: `${index}`, content: '' }))),
    ],
    ['fifteen thousand files', form(Array.from({ length: 15_000 }, () => image(Buffer.alloc(1_000))))],
    ['parts without an end', Buffer.from(`--${BOUNDARY}\r\n`.repeat(1_500_000))],
    ['a part with many headers', Buffer.from(`--${BOUNDARY}\r\n${'a: b\r\n'.repeat(5_000_000)}`)],
    ['a long field', form([{ name: 'prompt', content: bytes }])],
    ['a file that is no image', form([...FIELDS, image(bytes)])],
    [
      'a picture that claims to be of 3,600 megapixels',
      form([...FIELDS, image(await claiming(60_000, 60_000))]),
    ],
    ['the same followed by 20 MB', form([...FIELDS, image(inside(await claiming(60_000, 60_000)))])],
    [
      'a WebP that is no WebP',
      form([...FIELDS, image(inside(Buffer.from('RIFF\xff\xff\xff\x7fWEBPVP8X', 'latin1')))]),
    ],
    [
      'a picture of 25 megapixels without its data',
      form([...FIELDS, image(inside(await claiming(5_000, 5_000)))]),
    ],
    [
      'a picture of 5 megapixels that is cut short',
      form([...FIELDS, image(Buffer.concat([large.subarray(0, large.length / 2), large.subarray(-12)]))]),
    ],
  ];
  const json = (images: object[]): string => JSON.stringify({ model: MODEL, prompt: 'a fox', images });
  const jsons: [string, string][] = [
    ['a data URL that is no image', json([{ image_url: `data:image/png;base64,${'A'.repeat(20_000_000)}` }])],
    ['a data URL that is no base64', json([{ image_url: `data:image/png;base64,${'ü'.repeat(9_000_000)}` }])],
    ['a data URL without its comma', json([{ image_url: `data:${'x'.repeat(20_000_000)}` }])],
    ['a long address', json([{ image_url: `https://${'x'.repeat(20_000_000)}` }])],
    ['a long prompt', JSON.stringify({ prompt: 'x'.repeat(32_000_000) })],
    ['32 MB of lists', '['.repeat(32_000_000)],
    ...(await escaped()),
  ];
  const sent =
    (type: string) =>
    ([kind, body]: [string, string | Buffer]): Sent => {
      const name = `POST /v1/images/edits: ${kind}`;
      return { name, route, path: route.path, headers: { 'content-type': type }, body };
    };
  const pictures = await largePictures();
  const undecodable = [...(await undecodablePictures(PICTURE_BYTES))].map(([kind, picture]): Pictures => [
    kind,
    [picture],
  ]);
  const asSent = (edits: readonly Pictures[]): Sent[] => [
    ...edits.map(asForm).map(sent(FORM_TYPE)),
    ...edits.map(asJson).map(sent('application/json')),
  ];
  return [
    ...forms.map(sent(FORM_TYPE)),
    ...jsons.map(sent('application/json')),
    ...asSent(pictures),
    ...asSent(undecodable).map((request): Sent => ({ ...request, isUndecodable: true })),
  ];
}

/** Two pictures in the largest JSON, whose base64 is not simply letters. Those that are whole ask for a size that no model has. */
async function escaped(): Promise<[string, string][]> {
  const otherMembers = JSON.stringify({ model: MODEL, prompt: 'a fox', size: '100x100' }).slice(0, -1);
  const edits = await escapedEdits(EDIT_BODY_BYTES_MAX - BYTES_WITHOUT_IMAGES);
  return [...edits].map(([kind, texts]) => {
    const images = texts.map((text) => `{"image_url":"data:image/png;base64,${text}"}`);
    return [`two PNGs in base64 with ${kind}`, `${otherMembers},"images":[${images.join(',')}]}`];
  });
}

type Pictures = readonly [string, readonly Buffer[], Part?];

/** What begins like a picture, in the largest bodies that edits take. */
async function largePictures(): Promise<Pictures[]> {
  const whole = await noise(1_990, 1_990).png({ compressionLevel: 0 }).toBuffer();
  const damaged = Buffer.from(whole).fill(0, whole.length - 100, whole.length - 90);
  const hostile = [...(await hostilePictures(PICTURE_BYTES))];
  return [
    ...hostile.map(([kind, picture]): Pictures => [kind, [picture]]),
    ['a whole PNG and a damaged one', [whole, damaged]],
    ['two whole PNGs and a size that no model has', [whole, whole], { name: 'size', content: '100x100' }],
    ['two whole PNGs and a member that there is not', [whole, whole], { name: 'colour', content: 'red' }],
  ];
}

function inBase64(picture: Buffer): string {
  return `data:image/png;base64,${picture.toString('base64')}`;
}

/** What 20 MiB of base64 hold, the most that is taken as one text. */
const PICTURE_BYTES = 15_000_000;

function asForm([kind, pictures, further]: Pictures): [string, Buffer] {
  const others = further === undefined ? [] : [further];
  return [kind, form([...FIELDS, ...others, ...pictures.map((picture) => image(picture))])];
}

function asJson([kind, pictures, further]: Pictures): [string, string] {
  const images = pictures.map((picture) => ({ image_url: inBase64(picture) }));
  const others = [...FIELDS, ...(further === undefined ? [] : [further])];
  const members = Object.fromEntries(others.map(({ name, content }) => [name, content]));
  return [`${kind}, in base64`, JSON.stringify({ ...members, images })];
}

async function sendOnce(
  pool: Pool,
  { route, path, headers, body }: Sent,
  keys: Readonly<Record<'operator' | 'account', string>>,
): Promise<number> {
  const key = route.key === null ? {} : { authorization: `Bearer ${keys[route.key]}` };
  const { method } = route;
  const answer = await pool.request({ path, method, headers: { ...key, ...headers }, body });
  await answer.body.dump();
  return answer.statusCode;
}

async function makeAccount(url: string): Promise<string> {
  const id = newId('account');
  await withEngine(url, async (engine, dataSource) => {
    await dataSource.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Refused', now())`, [id]);
    await engine.execute(creditOf(id, micros(1_000_000n)));
  });
  return id;
}
