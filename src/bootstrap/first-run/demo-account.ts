import { join } from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { AccountsService } from '../../identity/accounts/accounts.service.js';
import { ApiKeysService } from '../../identity/api-keys/api-keys.service.js';
import { hashApiKey, CREDENTIALS, type Credentials } from '../../identity/auth/credentials.js';
import { DEFAULT_ACCOUNT_SCOPES } from '../../identity/auth/principal.js';
import type { Settings } from '../../platform/config/settings.js';
import { readPrivateJson, writePrivateJson } from './private-file.js';

/** Everything that a newcomer's first call needs. It holds secrets, so only its owner can read the file. */
type DemoFile = {
  readonly base_url: string;
  readonly account_id: string;
  readonly api_key: string;
  readonly operator_key: string;
  readonly stripe_api_base: string;
};

type DemoKey = Pick<DemoFile, 'account_id' | 'api_key'>;

const FILE = 'demo.json';
const ACCOUNT_NAME = 'Demo account';
const KEY_NAME = 'Demo key';

/**
 * Creates the demo account on the first start, with an empty wallet and a key that may do everything except charge
 * saved cards; later starts find it again. Rewrites the file each time, because ports may have changed. Returns its path.
 */
export async function welcomeDemoAccount(
  app: NestFastifyApplication,
  settings: Settings,
  url: string,
): Promise<string> {
  const path = join(settings.dataDir, FILE);
  const demo: DemoFile = {
    base_url: url,
    ...((await knownDemoKey(app, path)) ?? (await makeDemoKey(app))),
    operator_key: settings.operatorKey ?? '',
    stripe_api_base: settings.stripe?.apiBase?.origin ?? '',
  };
  await writePrivateJson(path, demo);
  return path;
}

/** Returns the key of the last start, if this database knows it: the file may belong to an earlier or another database. */
async function knownDemoKey(app: NestFastifyApplication, path: string): Promise<DemoKey | null> {
  const stored = (await readPrivateJson(path)) as Partial<DemoFile> | null;
  if (typeof stored?.api_key !== 'string' || typeof stored.account_id !== 'string') return null;
  const hash = hashApiKey(stored.api_key);
  const credential = (await app.get<Credentials>(CREDENTIALS).findByHashes([hash])).get(hash);
  if (credential === undefined || credential.revoked || credential.principal.kind !== 'account_key')
    return null;
  const { accountId } = credential.principal;
  return accountId === stored.account_id ? { account_id: accountId, api_key: stored.api_key } : null;
}

async function makeDemoKey(app: NestFastifyApplication): Promise<DemoKey> {
  const account = await app.get(AccountsService).create(ACCOUNT_NAME, 'system');
  const key = { name: KEY_NAME, scopes: DEFAULT_ACCOUNT_SCOPES, expiresAt: null };
  const { secret } = await app.get(ApiKeysService).createAccountKey(account.id, key, null);
  return { account_id: account.id, api_key: secret };
}
