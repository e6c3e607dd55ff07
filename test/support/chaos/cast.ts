import { newAccount, newApiKey } from '../process/service-customers.js';
import type { ServiceProcess } from '../process/service-process.js';
import { ACCOUNTS, FIRST_GRANT_MICROS, FIRST_LIMIT_MICROS, KEYS, LIMITED_KEY } from './plan.js';

export type ChaosKey = { readonly id: string; readonly secret: string; limitMicros: number | null };
export type ChaosAccount = { readonly id: string; readonly keys: readonly ChaosKey[] };

/** The accounts of every plan, each with a little credit and its keys. */
export function makeCast(service: ServiceProcess): Promise<ChaosAccount[]> {
  return Promise.all(Array.from({ length: ACCOUNTS }, () => makeAccount(service)));
}

async function makeAccount(service: ServiceProcess): Promise<ChaosAccount> {
  const id = await newAccount(service, FIRST_GRANT_MICROS);
  const keys: ChaosKey[] = [];
  for (let index = 0; index < KEYS; index += 1) {
    const secret = await newApiKey(service, id, ['generate', 'wallet:read', 'wallet:write']);
    keys.push({ id: await keyIdOf(service, id), secret, limitMicros: null });
  }
  const limited = keys[LIMITED_KEY] as ChaosKey;
  const limits = { spend_limits: { total_micros: String(FIRST_LIMIT_MICROS) } };
  const path = `/v1/accounts/${id}/api_keys/${limited.id}`;
  (await service.client().send('PATCH', path, { body: limits })).expect(200);
  limited.limitMicros = FIRST_LIMIT_MICROS;
  return { id, keys };
}

/** Of the newest key. */
async function keyIdOf(service: ServiceProcess, account: string): Promise<string> {
  const { body } = (await service.client().get(`/v1/accounts/${account}/api_keys?limit=1`)).expect(200);
  return String(body.data[0].id);
}
