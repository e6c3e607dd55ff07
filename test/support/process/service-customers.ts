import type { AccountScope } from '../../../src/identity/auth/principal.js';
import type { ServiceProcess } from './service-process.js';

/** More than any test spends. */
export const PLENTY_MICROS = 100_000_000;

/** An account with one lot of promotional credit for each amount. Answers its id. */
export async function newAccount(service: ServiceProcess, ...grants: number[]): Promise<string> {
  const operator = service.client();
  const account = (await operator.post('/v1/accounts', { name: 'Chaos' })).expect(201);
  const id = String(account.body.id);
  for (const amount of grants) {
    const grant = { amount_micros: String(amount), reason: 'to be spent' };
    (await operator.post(`/v1/accounts/${id}/grants`, grant)).expect(201);
  }
  return id;
}

/** A key of the account. Answers its secret. */
export async function newApiKey(
  service: ServiceProcess,
  account: string,
  scopes: readonly AccountScope[],
): Promise<string> {
  const key = { name: 'chaos', scopes };
  const made = await service.client().post(`/v1/accounts/${account}/api_keys`, key);
  return String(made.expect(201).body.secret);
}
