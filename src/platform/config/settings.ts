import type { UsdCents } from '../common/money.js';
import { parseMailbox, type Mailbox } from '../common/email-address.js';
import { cents } from '../common/money.js';
import { EnvironmentReader } from './environment-reader.js';
import { applyProductionRules, type ProductionOverride } from './production-rules.js';

export type Environment = 'production' | 'development' | 'test';
export type TopUpFeeMode = 'on_top' | 'deducted';

export type MasterKey = { readonly id: string; readonly key: Buffer };

export type StripeSettings = {
  readonly secretKey: string;
  readonly webhookSecret: string;
  /** A host other than Stripe's own; null means `https://api.stripe.com`. */
  readonly apiBase: URL | null;
};

export type BlackForestLabsSettings = {
  readonly apiKey: string;
  readonly apiBase: URL;
  /** How many tasks of the account may run at the same time; beyond them, the provider answers 429. */
  readonly activeTasksMax: number;
};

export type CloudflareSettings = {
  readonly accountId: string;
  readonly apiToken: string;
  readonly apiBase: URL;
};

/** Any server that speaks OpenAI's images API. */
export type OpenAiCompatibleSettings = {
  readonly apiKey: string;
  /** Includes the path that `/images/generations` is appended to, such as `/v1`. */
  readonly apiBase: URL;
  /** Sent with every request to it: gateways use headers to select one of their providers. Values may be secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** The origins, in addition to the base's own, from which its answers' image URLs are fetched. */
  readonly resultHosts: readonly URL[];
};

export type TopUpSettings = {
  readonly feeBps: number;
  readonly feeMode: TopUpFeeMode;
  readonly feeMinCents: UsdCents;
  readonly minCents: UsdCents;
  readonly maxCents: UsdCents;
};

/** How often a customer may try to buy credit; counted in the database, over the last 24 hours. */
export type TopUpLimitSettings = {
  /** The number of payment pages. */
  readonly perAccount: number;
  readonly perAddress: number;
  /** The number of refused cards. */
  readonly failuresPerAccount: number;
  readonly failuresPerAddress: number;
  /** The credit, and the number of top-ups, that an account may buy until its first payment is a day old. */
  readonly firstMaxCents: UsdCents;
  readonly firstMaxCount: number;
};

/** An S3 bucket, or one of a server that implements its protocol. */
export type S3Settings = {
  readonly bucket: string;
  readonly region: string;
  /** A server other than Amazon's; null means `https://s3.<region>.amazonaws.com`. */
  readonly endpoint: URL | null;
  /** Null means the machine's role, as the SDK finds it. */
  readonly accessKey: { readonly id: string; readonly secret: string } | null;
  /** It is prepended to every object's name; empty, or ends with `/`. */
  readonly prefix: string;
};

export type MailSettings = {
  /** `smtp://` or `smtps://`, with credentials or without. */
  readonly smtpUrl: URL;
  /** Whether to send nothing to another machine until the connection is encrypted. */
  readonly requiresTls: boolean;
  readonly from: Mailbox;
};

export type MetricsSettings = {
  /** The bearer token that a reader sends; null when there is none. */
  readonly token: string | null;
  /** A separate port, and its address; null means that they are a route of the service. */
  readonly port: number | null;
  readonly host: string;
};

/** Everything that the environment decides. For an outside part, null means that its simulator is used. */
export type Settings = {
  readonly environment: Environment;
  readonly host: string;
  readonly port: number;
  /** Null until the service knows its own port; then `http://127.0.0.1:<port>`. */
  readonly publicUrl: URL | null;
  /** Addresses or CIDR blocks whose `X-Forwarded-For` is trusted, wherever something is counted by address. */
  readonly trustedProxies: readonly string[];
  /** The largest number of open connections of a process; a further one is closed at once. */
  readonly httpConnectionsMax: number;
  /** How long a stopping process still takes new connections, so that a load balancer notices first. */
  readonly shutdownDelaySeconds: number;
  readonly dataDir: string;
  readonly databaseUrl: string | null;
  /** The owner's login, for migrations; null means that `coffer migrate` runs them, or the login of `databaseUrl` if it may. */
  readonly migrationDatabaseUrl: string | null;
  /** Whether production runs with a login that could rewrite the ledger. */
  readonly allowOwnerDatabaseLogin: boolean;
  readonly databasePoolSize: number;
  readonly stripe: StripeSettings | null;
  readonly blackForestLabs: BlackForestLabsSettings | null;
  /** Further providers, for the catalogue's routes that name them; null means that they are not used. They have no simulator. */
  readonly cloudflare: CloudflareSettings | null;
  readonly openAiCompatible: OpenAiCompatibleSettings | null;
  /** The number of queues of the wallet engine; the accounts are distributed over them. */
  readonly engineLanes: number;
  /** When this many commands wait in a lane, its second batch begins concurrently with the first. */
  readonly engineOverlapFrom: number;
  readonly redisUrl: string | null;
  readonly masterKeys: readonly MasterKey[];
  readonly operatorKey: string | null;
  /** Where images are stored; null means the data directory. */
  readonly s3: S3Settings | null;
  /** How long images can be fetched and answers are repeated; receipts and idempotency keys are kept permanently. */
  readonly mediaRetentionDays: number;
  /** Null means that there is no mail server. Mail is then written to files, and in production none is sent. */
  readonly mail: MailSettings | null;
  readonly topUp: TopUpSettings;
  /** Whether payment pages add the sales tax that Stripe computes. */
  readonly stripeTax: boolean;
  /** How long after the payment a customer may ask for a refund of unspent credit. */
  readonly refundWindowDays: number;
  /** The number of images of free models for each account and UTC day. */
  readonly freeImagesPerDay: number;
  readonly topUpLimits: TopUpLimitSettings;
  readonly rateLimit: boolean;
  /** Whether customers' webhooks, and the images that they name by URL, may be on this machine itself; never in production. */
  readonly webhookLoopback: boolean;
  readonly runJobs: boolean;
  readonly metrics: MetricsSettings;
  readonly logLevel: string;
  /** A file that receives every line of the log, at any level; null when there is none. */
  readonly logTraceFile: string | null;
  /** The rules of production that the operator has overridden; empty elsewhere. */
  readonly overrides: readonly ProductionOverride[];
};

export const SETTINGS = Symbol('SETTINGS');

const BLACK_FOREST_LABS_API = 'https://api.bfl.ai';
const CLOUDFLARE_API = 'https://api.cloudflare.com';
/** The limit of Black Forest Labs for an account that has not asked for more. */
export const BFL_ACTIVE_TASKS_DEFAULT = 24;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
/** AES-256 takes exactly this many bytes. */
const MASTER_KEY_BYTES = 32;

/**
 * Reads the environment once, at the start. Throws one `InvalidSettingsError` that names every bad variable, so
 * that an operator can correct them all at once.
 */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const read = new EnvironmentReader(env);
  const environment = read.oneOf('NODE_ENV', ['production', 'development', 'test'], 'development');
  const production = environment === 'production';
  if (production) {
    for (const name of REQUIRED_IN_PRODUCTION) read.require(name);
  }
  const settings: Settings = {
    environment,
    host: read.text('HOST') ?? '127.0.0.1',
    port: read.integer('PORT', { fallback: 3000, min: 0, max: 65_535 }),
    publicUrl: read.url('PUBLIC_URL'),
    trustedProxies: readTrustedProxies(read, production),
    httpConnectionsMax: read.integer('HTTP_CONNECTIONS_MAX', { fallback: 5_000, min: 10, max: 100_000 }),
    shutdownDelaySeconds: read.integer('SHUTDOWN_DELAY_SECONDS', { fallback: 0, min: 0, max: 60 }),
    dataDir: read.text('COFFER_DATA_DIR') ?? './.coffer',
    databaseUrl: read.text('DATABASE_URL'),
    migrationDatabaseUrl: read.text('MIGRATION_DATABASE_URL'),
    allowOwnerDatabaseLogin: read.oneOf('ALLOW_OWNER_DATABASE_LOGIN', ['no', 'yes'], 'no') === 'yes',
    databasePoolSize: read.integer('DATABASE_POOL_SIZE', { fallback: 12, min: 4, max: 100 }),
    stripe: readStripe(read, production),
    blackForestLabs: readBlackForestLabs(read, production),
    cloudflare: readCloudflare(read, production),
    openAiCompatible: readOpenAiCompatible(read, production),
    engineLanes: read.integer('ENGINE_LANES', { fallback: 1, min: 1, max: 16 }),
    engineOverlapFrom: read.integer('ENGINE_OVERLAP_FROM', { fallback: 128, min: 1, max: 10_000 }),
    redisUrl: read.text('REDIS_URL'),
    masterKeys: readMasterKeys(read, production),
    operatorKey: read.secret('COFFER_OPERATOR_KEY', production),
    s3: readS3(read, production),
    mediaRetentionDays: read.integer('MEDIA_RETENTION_DAYS', { fallback: 7, min: 1, max: 3_650 }),
    mail: readMail(read, production),
    topUp: readTopUp(read),
    stripeTax: read.oneOf('STRIPE_TAX', ['off', 'on'], 'off') === 'on',
    freeImagesPerDay: read.integer('FREE_IMAGES_PER_DAY', { fallback: 50, min: 0, max: 1_000_000 }),
    refundWindowDays: read.integer('REFUND_WINDOW_DAYS', { fallback: 30, min: 0, max: 3_650 }),
    topUpLimits: readTopUpLimits(read),
    rateLimit: read.oneOf('RATE_LIMIT', ['on', 'off'], 'on') === 'on',
    webhookLoopback: read.oneOf('WEBHOOK_LOOPBACK', ['on', 'off'], 'off') === 'on',
    runJobs: read.oneOf('COFFER_JOBS', ['on', 'off'], 'on') === 'on',
    metrics: readMetrics(read, production),
    logLevel: read.oneOf('LOG_LEVEL', LOG_LEVELS, environment === 'test' ? 'silent' : 'info'),
    logTraceFile: read.text('LOG_TRACE_FILE'),
    overrides: [],
  };
  // The catalogue's routes decide which of these providers are needed (`bootstrap/provider-coverage.ts`).
  const providers = [settings.blackForestLabs, settings.cloudflare, settings.openAiCompatible];
  if (production && providers.every((provider) => provider === null)) read.require('BFL_API_KEY');
  if (production && !settings.rateLimit) read.reject('RATE_LIMIT', 'cannot be off in production');
  if (production && settings.webhookLoopback) read.reject('WEBHOOK_LOOPBACK', 'cannot be on in production');
  const overrides = production ? applyProductionRules(read, settings.masterKeys) : [];
  read.finish();
  return { ...settings, overrides };
}

const REQUIRED_IN_PRODUCTION = [
  'PUBLIC_URL',
  'DATABASE_URL',
  'STRIPE_SECRET_KEY',
  'STRIPE_WEBHOOK_SECRET',
  'COFFER_MASTER_KEYS',
  'COFFER_OPERATOR_KEY',
] as const;

/** With a load balancer that is not listed, every customer seems to have its address, so production requires a decision. */
function readTrustedProxies(read: EnvironmentReader, production: boolean): readonly string[] {
  const value = read.text('TRUSTED_PROXIES');
  if (production && value === null) {
    read.reject(
      'TRUSTED_PROXIES',
      'is required in production: list the addresses of your load balancers, or set it to none when there are none',
    );
  }
  return value === 'none' ? [] : read.addresses('TRUSTED_PROXIES');
}

function readStripe(read: EnvironmentReader, production: boolean): StripeSettings | null {
  const secretKey = read.secret('STRIPE_SECRET_KEY', production);
  const webhookSecret = read.secret('STRIPE_WEBHOOK_SECRET', production);
  const apiBase = read.url('STRIPE_API_BASE');
  if (secretKey !== null && !/^(sk|rk)_(test|live)_/.test(secretKey)) {
    read.reject('STRIPE_SECRET_KEY', 'must start with sk_test_, sk_live_, rk_test_ or rk_live_');
  }
  if (secretKey !== null && webhookSecret === null) {
    read.reject('STRIPE_WEBHOOK_SECRET', 'is required together with STRIPE_SECRET_KEY');
  }
  return secretKey === null || webhookSecret === null ? null : { secretKey, webhookSecret, apiBase };
}

function readBlackForestLabs(read: EnvironmentReader, production: boolean): BlackForestLabsSettings | null {
  const apiKey = read.secret('BFL_API_KEY', production);
  const apiBase = read.url('BFL_API_BASE') ?? new URL(BLACK_FOREST_LABS_API);
  const activeTasksMax = read.integer('BFL_ACTIVE_TASKS_MAX', {
    fallback: BFL_ACTIVE_TASKS_DEFAULT,
    min: 1,
    max: 10_000,
  });
  return apiKey === null ? null : { apiKey, apiBase, activeTasksMax };
}

function readS3(read: EnvironmentReader, production: boolean): S3Settings | null {
  const bucket = read.text('S3_BUCKET');
  const region = read.text('S3_REGION') ?? 'us-east-1';
  const endpoint = read.url('S3_ENDPOINT');
  const id = read.text('S3_ACCESS_KEY_ID');
  const secret = read.secret('S3_SECRET_ACCESS_KEY', production);
  const prefix = (read.text('S3_PREFIX') ?? '').replace(/^\/+|\/+$/g, '');
  if (bucket !== null && !/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    read.reject('S3_BUCKET', 'must be the name of a bucket');
  }
  if (!/^[a-z0-9-]{1,40}$/.test(region)) read.reject('S3_REGION', 'must be the name of a region');
  if (!/^[\w./-]{0,200}$/.test(prefix)) read.reject('S3_PREFIX', 'may have letters, digits, and _ . / -');
  if ((id === null) !== (secret === null)) {
    read.reject('S3_SECRET_ACCESS_KEY', 'and S3_ACCESS_KEY_ID are required together');
  }
  if (bucket === null) return null;
  const accessKey = id === null || secret === null ? null : { id, secret };
  return { bucket, region, endpoint, accessKey, prefix: prefix === '' ? '' : `${prefix}/` };
}

function readCloudflare(read: EnvironmentReader, production: boolean): CloudflareSettings | null {
  const accountId = read.text('CLOUDFLARE_ACCOUNT_ID');
  const apiToken = read.secret('CLOUDFLARE_API_TOKEN', production);
  const apiBase = read.url('CLOUDFLARE_API_BASE') ?? new URL(CLOUDFLARE_API);
  // It becomes a part of the provider's URL.
  if (accountId !== null && !/^[a-z0-9]{1,64}$/i.test(accountId)) {
    read.reject('CLOUDFLARE_ACCOUNT_ID', 'must be letters and digits');
  }
  if (accountId === null && apiToken !== null) {
    read.reject('CLOUDFLARE_ACCOUNT_ID', 'is required together with CLOUDFLARE_API_TOKEN');
  }
  if (accountId !== null && apiToken === null) {
    read.reject('CLOUDFLARE_API_TOKEN', 'is required together with CLOUDFLARE_ACCOUNT_ID');
  }
  return accountId === null || apiToken === null ? null : { accountId, apiToken, apiBase };
}

function readOpenAiCompatible(read: EnvironmentReader, production: boolean): OpenAiCompatibleSettings | null {
  const apiKey = read.secret('OPENAI_COMPATIBLE_API_KEY', production);
  const apiBase = read.url('OPENAI_COMPATIBLE_API_BASE');
  if (apiKey !== null && apiBase === null) {
    read.reject('OPENAI_COMPATIBLE_API_BASE', 'is required together with OPENAI_COMPATIBLE_API_KEY');
  }
  if (apiKey === null && apiBase !== null) {
    read.reject('OPENAI_COMPATIBLE_API_KEY', 'is required together with OPENAI_COMPATIBLE_API_BASE');
  }
  const headers = read.headers('OPENAI_COMPATIBLE_HEADERS');
  const resultHosts = read.origins('OPENAI_COMPATIBLE_RESULT_HOSTS');
  return apiKey === null || apiBase === null ? null : { apiKey, apiBase, headers, resultHosts };
}

function readMail(read: EnvironmentReader, production: boolean): MailSettings | null {
  const server = read.text('SMTP_URL');
  const sender = read.text('MAIL_FROM');
  const from = sender === null ? null : parseMailbox(sender);
  if (sender !== null && from === null) {
    read.reject('MAIL_FROM', 'must be an address, or a name and an address in angle brackets');
  }
  if (server === null) return null;
  const smtpUrl = URL.canParse(server) ? new URL(server) : null;
  if (smtpUrl === null || !/^smtps?:$/.test(smtpUrl.protocol) || smtpUrl.hostname === '') {
    read.reject('SMTP_URL', 'must be an smtp or smtps URL');
    return null;
  }
  if (sender === null) read.reject('MAIL_FROM', 'is required together with SMTP_URL');
  const requiresTls = production && read.text('ALLOW_SMTP_WITHOUT_TLS') !== 'yes';
  return from === null ? null : { smtpUrl, requiresTls, from };
}

function readMetrics(read: EnvironmentReader, production: boolean): MetricsSettings {
  const token = read.secret('METRICS_TOKEN', production);
  if (token !== null && !/^[\x21-\x7e]{20,200}$/.test(token)) {
    read.reject('METRICS_TOKEN', 'must have 20 to 200 visible ASCII characters');
  }
  const port = read.integer('METRICS_PORT', { fallback: -1, min: 0, max: 65_535 });
  return { token, port: port === -1 ? null : port, host: read.text('METRICS_HOST') ?? '127.0.0.1' };
}

function readTopUp(read: EnvironmentReader): TopUpSettings {
  const amount = (name: string, fallback: number, min: number) =>
    cents(BigInt(read.integer(name, { fallback, min, max: 100_000_000 })));
  const topUp: TopUpSettings = {
    feeBps: read.integer('TOP_UP_FEE_BPS', { fallback: 500, min: 0, max: 5_000 }),
    feeMode: read.oneOf('TOP_UP_FEE_MODE', ['on_top', 'deducted'], 'on_top'),
    feeMinCents: amount('TOP_UP_FEE_MIN_CENTS', 0, 0),
    minCents: amount('TOP_UP_MIN_CENTS', 500, 100),
    maxCents: amount('TOP_UP_MAX_CENTS', 1_000_000, 100),
  };
  if (topUp.minCents > topUp.maxCents) read.reject('TOP_UP_MAX_CENTS', 'is below TOP_UP_MIN_CENTS');
  return topUp;
}

function readTopUpLimits(read: EnvironmentReader): TopUpLimitSettings {
  const limit = { min: 1, max: 1_000_000 };
  const firstMax = { fallback: 50_000, min: 100, max: 100_000_000 };
  return {
    perAccount: read.integer('TOP_UPS_PER_ACCOUNT_PER_DAY', { fallback: 50, ...limit }),
    perAddress: read.integer('TOP_UPS_PER_ADDRESS_PER_DAY', { fallback: 200, ...limit }),
    failuresPerAccount: read.integer('FAILED_PAYMENTS_PER_ACCOUNT_PER_DAY', { fallback: 10, ...limit }),
    failuresPerAddress: read.integer('FAILED_PAYMENTS_PER_ADDRESS_PER_DAY', { fallback: 30, ...limit }),
    firstMaxCents: cents(BigInt(read.integer('FIRST_TOP_UPS_MAX_CENTS', firstMax))),
    firstMaxCount: read.integer('FIRST_TOP_UPS_MAX_COUNT', { fallback: 10, ...limit }),
  };
}

/** Reads `id:base64,id:base64`, newest first; the first one encrypts, all of them decrypt. */
function readMasterKeys(read: EnvironmentReader, production: boolean): MasterKey[] {
  const keys: MasterKey[] = [];
  const seen = new Set<string>();
  for (const entry of read.secret('COFFER_MASTER_KEYS', production)?.split(',') ?? []) {
    const [id = '', encoded = ''] = entry.trim().split(':', 2);
    const key = Buffer.from(encoded, 'base64');
    if (!/^[a-z0-9_-]{1,32}$/i.test(id) || key.length !== MASTER_KEY_BYTES || seen.has(id)) {
      read.reject(
        'COFFER_MASTER_KEYS',
        'must be id:base64 pairs of 32-byte keys with distinct ids, comma-separated',
      );
      break;
    }
    seen.add(id);
    keys.push({ id, key });
  }
  return keys;
}
