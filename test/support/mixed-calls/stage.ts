import { TestClient } from '../app/test-client.js';
import { RUNNING_DRY_CREDITS, type AccountKind, type MixedPlan, type PlannedAccount } from './plan.js';

/** Two service processes on one database and one data directory, over one simulator of Black Forest Labs. */
export type MixedStage = {
  readonly serviceUrls: readonly [string, string];
  readonly operatorKey: string;
  /** As the role that owns the database: prices have no route. */
  readonly databaseUrl: string;
  /** Where both keep images. */
  readonly dataDir: string;
  readonly upstreamUrl: string;
  /** Ours at the simulator. */
  readonly upstreamKey: string;
};

export type CastKey = { readonly id: string; readonly secret: string };

/** An account of the plan, as it really is. */
export type CastAccount = PlannedAccount & {
  readonly id: string;
  readonly secrets: readonly CastKey[];
  /** Its own at the provider; null: it has none. */
  readonly providerKey: string | null;
};

export const PROVIDER = 'black_forest_labs';
/** Enough for any run; the simulator takes whole credits. */
export const PLENTY_CREDITS = 100_000_000;

export const isByok = (kind: AccountKind): boolean => kind.startsWith('byok');
export const fallsBack = (kind: AccountKind): boolean => kind.endsWith('_falls_back');
/** The provider never takes this key. */
export const isRefused = (kind: AccountKind): boolean => kind.startsWith('byok_refused');
export const isRunningDry = (kind: AccountKind): boolean => kind.startsWith('byok_running_dry');

/**
 * Makes everybody that the plan names, over HTTP, as an operator and the customers would: all at the first service, which
 * goes by its own changes at once. The second has heard of no account yet, so it remembers nothing that is not so any more.
 */
export async function makeCast(stage: MixedStage, plan: MixedPlan, run: string): Promise<CastAccount[]> {
  await setCredits(stage, stage.upstreamKey, PLENTY_CREDITS);
  const cast: CastAccount[] = [];
  for (const [index, account] of plan.accounts.entries()) {
    cast.push(await makeAccount(stage, account, `${run}_${index}`));
  }
  return cast;
}

async function makeAccount(stage: MixedStage, account: PlannedAccount, label: string): Promise<CastAccount> {
  const operator = new TestClient(stage.serviceUrls[0], stage.operatorKey);
  const made = await operator.post('/v1/accounts', { name: `Mixed ${account.kind} ${label}` });
  const id = String(made.expect(201).body.id);
  if (account.grantMicros > 0n) await grant(operator, id, account.grantMicros);
  const secrets: CastKey[] = [];
  for (const { limits } of account.keys) {
    const limited = Object.entries(limits).map(([period, amount]) => [`${period}_micros`, String(amount)]);
    const key = await operator.post(`/v1/accounts/${id}/api_keys`, {
      name: 'mixed calls',
      scopes: ['generate', 'wallet:read', 'keys:write'],
      ...(limited.length === 0 ? {} : { spend_limits: Object.fromEntries(limited) }),
    });
    const { id: keyId, secret } = key.expect(201).body;
    secrets.push({ id: keyId, secret });
  }
  const providerKey = isByok(account.kind) ? await attachKey(stage, account.kind, secrets, label) : null;
  return { ...account, id, secrets, providerKey };
}

async function attachKey(
  stage: MixedStage,
  kind: AccountKind,
  [first]: readonly CastKey[],
  label: string,
): Promise<string> {
  const key = `bfl_${isRefused(kind) ? 'invalid' : 'own'}_key_of_${label}_${'0'.repeat(8)}`;
  if (!isRefused(kind)) {
    const credits = kind === 'byok_unfunded' ? 0 : isRunningDry(kind) ? RUNNING_DRY_CREDITS : PLENTY_CREDITS;
    await setCredits(stage, key, credits);
  }
  const customer = new TestClient(stage.serviceUrls[0], first?.secret ?? '');
  const body = { key, fall_back_to_wallet: fallsBack(kind) };
  (await customer.send('PUT', `/v1/provider_keys/${PROVIDER}`, { body })).expect(200);
  return key;
}

/** Answers the amount, which counts from now on. */
export async function grant(operator: TestClient, account: string, amountMicros: bigint): Promise<bigint> {
  const body = { amount_micros: String(amountMicros), reason: 'mixed calls' };
  (await operator.post(`/v1/accounts/${account}/grants`, body)).expect(201);
  return amountMicros;
}

async function setCredits({ upstreamUrl }: MixedStage, apiKey: string, credits: number): Promise<void> {
  const upstream = new TestClient(upstreamUrl, null);
  (await upstream.post('/_sandbox/credits', { api_key: apiKey, credits })).expect(200);
}
