import { isLoopbackHost } from '../egress/outside-url.js';
import type { EnvironmentReader } from './environment-reader.js';

type MasterKey = { readonly key: Buffer };
type Fault = { readonly setting: string; readonly why: string };

/** A setting that production refuses unless an operator allows it, by setting the rule's override to `yes`. */
export type ProductionRule = {
  readonly override: `ALLOW_${string}`;
  /** What the override permits; it is logged at every start. */
  readonly allows: string;
  /** A fault that only shows when a server is contacted is refused at that time (`when_used`). */
  readonly refused: 'at_start' | 'when_used';
  readonly faults: (read: EnvironmentReader, masterKeys: readonly MasterKey[]) => readonly Fault[];
};

/** A rule that an operator has overridden. */
export type ProductionOverride = Pick<ProductionRule, 'override' | 'allows'> & {
  /** False means that no setting needs the override, so it can be removed. */
  readonly needed: boolean;
};

/** About 30 of the 32 bytes of a random key are distinct. Fewer than 20 occur by chance less than once in 10^9 keys. */
const DISTINCT_BYTES_MIN = 20;
/** Stripe's signing secrets have 32 characters after the prefix; those of its command line have 64. */
const WEBHOOK_SECRET = /^whsec_\S{24,}$/;
/** The URLs that this service requests over HTTP with a key of its own or of a customer. */
const UPSTREAM_URLS = [
  'STRIPE_API_BASE',
  'BFL_API_BASE',
  'CLOUDFLARE_API_BASE',
  'OPENAI_COMPATIBLE_API_BASE',
  'OPENAI_COMPATIBLE_RESULT_HOSTS',
  'S3_ENDPOINT',
] as const;

/** The login that migrates has more rights and uses the same network. */
const DATABASE_URLS = ['DATABASE_URL', 'MIGRATION_DATABASE_URL'] as const;

/**
 * Connections to this machine itself (loopback addresses, Unix sockets) cross no network that others could listen to,
 * so they need no TLS: a sidecar that adds it, and tests, work without an override.
 */
export const PRODUCTION_RULES: readonly ProductionRule[] = [
  {
    override: 'ALLOW_STRIPE_TEST_MODE',
    refused: 'at_start',
    allows:
      'Stripe runs in test mode: test cards, which cost nothing, buy credit that real images are paid with.',
    faults: (read) =>
      /^(sk|rk)_test_/.test(read.text('STRIPE_SECRET_KEY') ?? '')
        ? fault(
            'STRIPE_SECRET_KEY',
            'is a key of the test mode of Stripe. Use one that starts with sk_live_ or rk_live_',
          )
        : [],
  },
  {
    override: 'ALLOW_UNUSUAL_STRIPE_WEBHOOK_SECRET',
    refused: 'at_start',
    allows:
      'The signing secret of the Stripe webhook is not one that Stripe makes; anyone who guesses it can forge payments.',
    faults: (read) => {
      const secret = read.text('STRIPE_WEBHOOK_SECRET');
      return secret === null || WEBHOOK_SECRET.test(secret)
        ? []
        : fault(
            'STRIPE_WEBHOOK_SECRET',
            'is not the signing secret of a webhook endpoint. Stripe shows it as whsec_…',
          );
    },
  },
  {
    override: 'ALLOW_WEAK_MASTER_KEYS',
    refused: 'at_start',
    allows:
      'A master key is not random: anyone who guesses it can forge image URLs and decrypt provider keys.',
    faults: (_, masterKeys) =>
      masterKeys.every(looksRandom)
        ? []
        : fault('COFFER_MASTER_KEYS', 'has a key that is not random. .env.example says how to make one'),
  },
  {
    override: 'ALLOW_HTTP_PUBLIC_URL',
    refused: 'at_start',
    allows: 'Customers are sent to an http address: their API keys and images cross the network unencrypted.',
    faults: (read) => plainHttp(read, ['PUBLIC_URL']),
  },
  {
    override: 'ALLOW_HTTP_UPSTREAMS',
    refused: 'at_start',
    allows:
      'An upstream is called over http: its key, and what is sent and received, cross the network unencrypted.',
    faults: (read) => plainHttp(read, UPSTREAM_URLS),
  },
  {
    override: 'ALLOW_DATABASE_WITHOUT_TLS',
    refused: 'at_start',
    allows:
      'The database is not verified by TLS: its password and all rows can be read and changed on the network.',
    faults: (read) =>
      DATABASE_URLS.flatMap((name) => {
        const url = read.text(name);
        return url === null || isVerifiedDatabase(url)
          ? []
          : fault(name, 'reaches another machine without verified TLS. Add sslmode=verify-full to it');
      }),
  },
  {
    override: 'ALLOW_REDIS_WITHOUT_TLS',
    refused: 'at_start',
    allows:
      'Redis is reached without TLS: its password can be read, and rate limits changed, on the network.',
    faults: (read) => {
      const url = read.text('REDIS_URL');
      return url === null || url.startsWith('rediss:') || url.startsWith('/') || isLocal(url)
        ? []
        : fault('REDIS_URL', 'reaches another machine without TLS. Use rediss:// instead of redis://');
    },
  },
  {
    override: 'ALLOW_SMTP_WITHOUT_TLS',
    refused: 'when_used',
    allows:
      'Mail is sent without TLS where the server offers none: links that confirm addresses can be read.',
    faults: (read) => {
      const url = read.text('SMTP_URL');
      return url === null || url.startsWith('smtps:') || isLocal(url)
        ? []
        : fault('SMTP_URL', 'names a server that may not speak TLS');
    },
  },
];

/** Rejects settings that production must not start with, and returns the rules that an operator has overridden. */
export function applyProductionRules(
  read: EnvironmentReader,
  masterKeys: readonly MasterKey[],
): ProductionOverride[] {
  return PRODUCTION_RULES.flatMap(({ override, allows, refused, faults }) => {
    const found = faults(read, masterKeys);
    if (read.oneOf(override, ['yes', 'no'], 'no') === 'yes') {
      return [{ override, allows, needed: found.length > 0 }];
    }
    if (refused === 'at_start') {
      for (const { setting, why } of found) {
        read.reject(setting, `${why}, or set ${override}=yes to allow it`);
      }
    }
    return [];
  });
}

function fault(setting: string, why: string): readonly Fault[] {
  return [{ setting, why }];
}

function plainHttp(read: EnvironmentReader, names: readonly string[]): readonly Fault[] {
  return names
    .filter((name) => {
      // One setting may list several, separated by commas.
      const urls = (read.text(name) ?? '').split(',').map((url) => url.trim());
      return urls.some((url) => /^http:/i.test(url) && !isLocal(url));
    })
    .map((setting) => ({ setting, why: 'is an http address on another machine. Use https' }));
}

function isLocal(url: string): boolean {
  return URL.canParse(url) && isLoopbackHost(new URL(url).hostname);
}

/**
 * It reads the URL as the driver does: the last of several equal parameters counts, `host` replaces the host, and a host that
 * begins with a slash is a Unix socket. The driver treats `require` as `verify-full` today and announces to change that, so only
 * `verify-full` itself is accepted.
 */
function isVerifiedDatabase(text: string): boolean {
  if (text.startsWith('/') || text.startsWith('socket:')) return true;
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const last = (name: string) => url.searchParams.getAll(name).at(-1) ?? '';
  const host = last('host') || url.hostname.replace(/^%2f/i, '/');
  return host.startsWith('/') || isLoopbackHost(host) || last('sslmode') === 'verify-full';
}

/** Refuses one byte repeated, text, or 0 1 2 3 …: what people write in place of a random key. */
function looksRandom({ key }: MasterKey): boolean {
  const steps = new Set(key.map((byte, index) => byte - (key[index - 1] ?? 0)));
  return new Set(key).size >= DISTINCT_BYTES_MIN && steps.size >= DISTINCT_BYTES_MIN;
}
