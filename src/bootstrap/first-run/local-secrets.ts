import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { makeApiKey } from '../../identity/auth/credentials.js';
import type { MasterKey, Settings } from '../../platform/config/settings.js';
import { createPrivateJson, readPrivateJson } from './private-file.js';

/** The secrets of an installation that was given none. They are made once and kept in the data directory, never in production. */
export type LocalSecrets = {
  readonly operatorKey: string;
  /** The value that `COFFER_MASTER_KEYS` would hold. */
  readonly masterKey: MasterKey;
  readonly stripeSecretKey: string;
  readonly stripeWebhookSecret: string;
  readonly blackForestLabsKey: string;
};

type SecretsFile = {
  readonly operator_key: string;
  readonly master_key: string;
  readonly stripe_secret_key: string;
  readonly stripe_webhook_secret: string;
  readonly bfl_api_key: string;
};

const FILE = 'secrets.json';
const MASTER_KEY_ID = 'local';
const MASTER_KEY_BYTES = 32;

export async function loadLocalSecrets(dataDir: string): Promise<LocalSecrets> {
  const path = join(dataDir, FILE);
  const stored = (await readPrivateJson(path)) ?? (await createPrivateJson(path, makeSecrets()));
  if (!isSecretsFile(stored)) throw new Error(`${path} lacks a secret; move it away to have new ones made`);
  return {
    operatorKey: stored.operator_key,
    masterKey: { id: MASTER_KEY_ID, key: Buffer.from(stored.master_key, 'base64') },
    stripeSecretKey: stored.stripe_secret_key,
    stripeWebhookSecret: stored.stripe_webhook_secret,
    blackForestLabsKey: stored.bfl_api_key,
  };
}

function makeSecrets(): SecretsFile {
  return {
    operator_key: makeApiKey('operator_key'),
    master_key: randomBytes(MASTER_KEY_BYTES).toString('base64'),
    stripe_secret_key: `sk_test_${randomBytes(24).toString('hex')}`,
    stripe_webhook_secret: `whsec_${randomBytes(24).toString('hex')}`,
    bfl_api_key: `bfl_sandbox_${randomBytes(24).toString('hex')}`,
  };
}

const NAMES: readonly (keyof SecretsFile)[] = [
  'operator_key',
  'master_key',
  'stripe_secret_key',
  'stripe_webhook_secret',
  'bfl_api_key',
];

function isSecretsFile(value: unknown): value is SecretsFile {
  if (typeof value !== 'object' || value === null) return false;
  const members = value as Record<string, unknown>;
  return NAMES.every((name) => typeof members[name] === 'string' && members[name] !== '');
}

/** Returns the settings with these secrets wherever the environment named none. */
export function withLocalSecrets(settings: Settings, secrets: LocalSecrets): Settings {
  return {
    ...settings,
    operatorKey: settings.operatorKey ?? secrets.operatorKey,
    masterKeys: settings.masterKeys.length > 0 ? settings.masterKeys : [secrets.masterKey],
  };
}
