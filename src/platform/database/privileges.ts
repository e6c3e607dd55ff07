import pg from 'pg';
import type { DataSource } from 'typeorm';

/**
 * What the service may do with each table, in the notation of `GRANT`: the least that the code needs. Each migration run
 * brings the role to exactly this, so the service cannot use a new table until it has a line here.
 */
export const PRIVILEGES: Readonly<Record<string, string>> = {
  // The books only grow.
  transfers: 'SELECT, INSERT',
  wallet_status_changes: 'SELECT, INSERT',
  // A wallet begins empty.
  wallets: 'SELECT, INSERT (account_id, top_up_mark_micros, low_mark_micros), UPDATE',
  credit_lots: 'SELECT, INSERT, UPDATE (remaining_micros)',
  holds: 'SELECT, INSERT, UPDATE (status, captured_micros, resolved_at)',
  wallet_freezes: 'SELECT, INSERT, UPDATE (lifted_at, lifted_by, lifted_reason)',
  debt_reliefs: 'SELECT, INSERT, UPDATE (undone_micros)',
  reliefs_carried_over: 'SELECT',
  key_budgets: 'SELECT, INSERT, UPDATE, DELETE',

  // Accounts and keys. The identity of a key never changes.
  accounts: 'SELECT, INSERT',
  account_limits: 'SELECT, INSERT',
  api_keys: 'SELECT, INSERT, UPDATE (revoked_at, last_used_at, duplicate_window_seconds)',
  provider_keys: 'SELECT, INSERT, UPDATE',

  // The audit log. The service may choose neither the number nor the time of an act, and a trigger of the owner's seals it.
  audit_events:
    'SELECT, INSERT (id, actor, act, object_type, object_id, account_id, before, after, reason, request_id, client_address)',
  audit_seals: 'SELECT',
  audit_head: 'SELECT',

  // Payments.
  top_ups: 'SELECT, INSERT, UPDATE',
  refunds: 'SELECT, INSERT, UPDATE',
  disputes: 'SELECT, INSERT, UPDATE',
  dispute_movements: 'SELECT, INSERT, UPDATE (balance_transaction_id, booked_at)',
  payment_failures: 'SELECT, INSERT',
  payment_reviews: 'SELECT, INSERT, UPDATE',
  payment_review_decisions: 'SELECT, INSERT',
  saved_cards: 'SELECT, INSERT, UPDATE',
  auto_top_ups: 'SELECT, INSERT, UPDATE',
  auto_top_up_consents: 'SELECT, INSERT',
  stripe_customers: 'SELECT, INSERT, UPDATE',
  stripe_events: 'SELECT, INSERT, UPDATE',
  stripe_event_cursors: 'SELECT, INSERT, UPDATE',
  stripe_balance_transactions: 'SELECT, INSERT, UPDATE (booked_at)',
  stripe_balance_settlements: 'SELECT, INSERT',
  stripe_balance_cursors: 'SELECT, INSERT, UPDATE',

  // Images.
  catalog_versions: 'SELECT, INSERT',
  prices: 'SELECT, INSERT',
  generations: 'SELECT, INSERT, UPDATE',
  generation_tasks: 'SELECT, INSERT, UPDATE',
  model_usage: 'SELECT, INSERT, UPDATE',
  usage_days: 'SELECT, INSERT, UPDATE',
  usage_progress: 'SELECT, INSERT, UPDATE',
  // Rows are taken from the queue with SELECT … FOR UPDATE, for which the server requires the right to update.
  usage_queue: 'SELECT, INSERT, UPDATE, DELETE',

  // Notifications. Delivered ones are deleted after a while.
  webhook_endpoints: 'SELECT, INSERT, UPDATE',
  webhook_events: 'SELECT, INSERT, DELETE',
  webhook_deliveries: 'SELECT, INSERT, UPDATE, DELETE',
  wallet_alerts: 'SELECT, INSERT, UPDATE',
  alert_emails: 'SELECT, INSERT, UPDATE, DELETE',

  // The migrations that have run: a service that may not migrate reports when one is missing.
  migrations: 'SELECT',
};

/** Every privilege of a role on Coffer's tables: on whole tables, and on single columns. */
const GRANTED = `
  SELECT t.relname AS "table", coalesce(array_agg(p.name ORDER BY p.name) FILTER (WHERE p.name IS NOT NULL), '{}') AS granted
    FROM pg_class t LEFT JOIN LATERAL (
      SELECT a.privilege_type AS name FROM aclexplode(t.relacl) a WHERE a.grantee = $1::regrole
       UNION ALL
      SELECT format('%s (%s)', a.privilege_type, c.attname)
        FROM pg_attribute c, aclexplode(c.attacl) a WHERE c.attrelid = t.oid AND a.grantee = $1::regrole) p ON true
   WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')
   GROUP BY t.relname ORDER BY t.relname`;

export type TablePrivileges = { readonly table: string; readonly granted: readonly string[] };

/** Reads what the role itself has been granted, by table; it omits what it has through other roles. */
export function readPrivileges(database: DataSource, role: string): Promise<TablePrivileges[]> {
  return database.query<TablePrivileges[]>(GRANTED, [pg.escapeIdentifier(role)]);
}

/** Lists `SELECT, UPDATE (a, b)` as the server's catalogue does: `SELECT`, `UPDATE (a)`, `UPDATE (b)`. */
export function wantedPrivileges(table: string): string[] {
  const spelled = PRIVILEGES[table] ?? '';
  return [...spelled.matchAll(/(\w+)(?: \(([^)]*)\))?/g)]
    .flatMap(
      ([, privilege, columns]) =>
        columns?.split(', ').map((column) => `${privilege} (${column})`) ?? [`${privilege}`],
    )
    .sort();
}

/** Brings the role to `PRIVILEGES`; the owner runs it. Tables that already agree are not touched, because a grant makes every session plan again. */
export async function grantPrivileges(owner: DataSource, role: string): Promise<void> {
  const name = pg.escapeIdentifier(role);
  const statements = [
    `SET lock_timeout = '5s'`,
    // This removes a default of the first migrations: the service cannot use a new table until it has a line above.
    `ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM ${name}`,
    `ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM ${name}`,
    `GRANT USAGE ON SCHEMA public TO ${name}`,
  ];
  for (const { table, granted } of await readPrivileges(owner, role)) {
    if (wantedPrivileges(table).join() === [...granted].sort().join()) continue;
    statements.push(`REVOKE ALL ON ${pg.escapeIdentifier(table)} FROM ${name}`);
    const wanted = PRIVILEGES[table];
    if (wanted !== undefined) statements.push(`GRANT ${wanted} ON ${pg.escapeIdentifier(table)} TO ${name}`);
  }
  // Statements that are sent together are one tx.
  await owner.query(statements.join('; '));
}
