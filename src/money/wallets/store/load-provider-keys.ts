import type { Statement, StatementCall } from '../../../platform/database/pipeline.js';
import type { WalletCommand } from '../rules/command.js';

export type ProviderKeyRow = { account_id: string; provider: string };

/** Most accounts have none, so most look-ups end in the index. */
export const LOAD_PROVIDER_KEYS: Statement = {
  name: 'load_provider_keys',
  text: `
  SELECT account_id, provider FROM provider_keys WHERE account_id = ANY($1::text[]) AND removed_at IS NULL`,
};

/** The call that loads where the accounts have keys of their own; none when no command depends on it. */
export function providerKeysOf(commands: readonly WalletCommand[]): StatementCall[] {
  const accountIds = new Set<string>();
  for (const command of commands) {
    if (command.type === 'authorize' && (command.unlessOwnKeyAt ?? []).length > 0) {
      accountIds.add(command.accountId);
    }
  }
  return accountIds.size === 0 ? [] : [{ statement: LOAD_PROVIDER_KEYS, values: [[...accountIds]] }];
}
