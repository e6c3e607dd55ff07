/** The image calls of the seeded customers: what they ask for, and how they are made, many at a time. */
import { setTimeout as sleep } from 'node:timers/promises';

export const PAID_MODEL = 'black-forest-labs/flux-2-klein-9b';
export const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';

/** More only wait for each other: the simulated provider, like the real one, takes 24 tasks at a time. */
const CALLS_AT_ONCE = 12;
/**
 * How long a call is sent again: a minute's limit is met by a seed that is repeated at once, and a call whose service was killed is
 * ended by the jobs of the next one, two minutes later at the latest.
 */
const SENT_AGAIN_FOR_MS = 180_000;
/** Longer than its answer asks for: the looks count into the minute's limit of the other calls. */
const CUT_OFF_LOOK_MS = 5_000;
/** The simulator answers at once instead of after its usual latency. */
const INSTANTLY = '[sandbox:slow=0]';

export type ImageCall = {
  readonly key: string;
  /** Unique within its customer: the call is made once, however often the seed runs. */
  readonly name: string;
  readonly model: string;
  readonly size: string;
  readonly n: number;
  readonly tag: string | null;
  /** A directive for the simulator, such as `moderated`: this call is to fail, and costs nothing. */
  readonly failure: string | null;
};

const SUBJECTS = [
  'A brass vault',
  'A paper lighthouse',
  'A red bicycle',
  'A glass teapot',
  'A snowy harbour',
];
const SIZES = ['256x256', '256x144', '144x256', '192x192'];
const TAGS = ['spring-campaign', 'product-photos', 'blog', null];
/** One call in so many fails. */
const FAILS_EVERY = 60;
const FAILURES = ['moderated', 'error'];

export type CallPlan = Pick<ImageCall, 'key' | 'model'> & {
  readonly prefix: string;
  readonly count: number;
  readonly n?: number;
};

/** Calls that differ in size, tag and outcome, and are the same on every run. */
export function planCalls({ key, model, prefix, count, n = 1 }: CallPlan): ImageCall[] {
  return Array.from({ length: count }, (_, index) => ({
    key,
    model,
    n,
    name: `seed-${prefix}-${index + 1}`,
    size: choose(SIZES, index),
    tag: choose(TAGS, Math.floor(index / 3)),
    failure:
      index % FAILS_EVERY === FAILS_EVERY - 1 ? choose(FAILURES, Math.floor(index / FAILS_EVERY)) : null,
  }));
}

/** Makes the calls; answers how many delivered. Throws for a call that neither delivered nor was to fail. */
export async function makeImages(baseUrl: string, calls: readonly ImageCall[]): Promise<number> {
  let next = 0;
  let delivered = 0;
  const work = async (): Promise<void> => {
    for (let call = calls[next++]; call !== undefined; call = calls[next++]) {
      if (await makeOne(baseUrl, call)) delivered += 1;
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, work));
  return delivered;
}

async function makeOne(baseUrl: string, call: ImageCall): Promise<boolean> {
  const startedAt = performance.now();
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send(baseUrl, call);
    const text = await answer.text();
    if (answer.ok) return true;
    const mayPass = performance.now() - startedAt < SENT_AGAIN_FOR_MS;
    if (mayPass && answer.status === 429) {
      await sleep(1_000 * Number(answer.headers.get('retry-after') ?? 1));
    } else if (mayPass && text.includes('idempotency_in_progress')) {
      if (attempt === 1)
        console.log(`         ${call.name} was cut off: waiting until the service has ended it`);
      await sleep(CUT_OFF_LOOK_MS);
    } else if (call.failure !== null) {
      return false;
    } else {
      throw new Error(`${call.name}: ${answer.status} ${text}`);
    }
  }
}

function send(baseUrl: string, { key, name, model, size, n, tag, failure }: ImageCall): Promise<Response> {
  const subject = choose(SUBJECTS, name.length + Number(/\d+$/.exec(name)?.[0]));
  const directive = failure === null ? '' : ` [sandbox:${failure}]`;
  return fetch(`${baseUrl}/v1/images/generations`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'idempotency-key': name,
      ...(tag === null ? {} : { 'x-coffer-tag': tag }),
    },
    body: JSON.stringify({ model, n, size, prompt: `${subject}, sketch ${name} ${INSTANTLY}${directive}` }),
  });
}

function choose<T>(choices: readonly T[], index: number): T {
  return choices[index % choices.length] as T;
}
