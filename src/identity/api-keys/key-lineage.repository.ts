import { Injectable } from '@nestjs/common';
import type { Principal } from '../auth/principal.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { ApiKeyEntity } from './api-key.entity.js';
import { type KeyFacts, SPENDING_SCOPES } from './key-policy.js';

/** An API key, or the operator key of the environment, which has no row. */
type KeyReference = Pick<Principal, 'keyId' | 'kind'>;

/** Revoked keys of the line count too: what a key was made by does not end with its maker. */
const IS_LIMITED = `
  WITH RECURSIVE line AS (
    SELECT k.id, k.account_id, k.created_by FROM api_keys k WHERE k.id = $1
    UNION ALL
    SELECT m.id, m.account_id, m.created_by
      FROM line l JOIN api_keys m ON m.id = split_part(l.created_by, ':', 2) AND m.account_id = l.account_id)
  SELECT EXISTS (
    SELECT FROM line l JOIN key_budgets b ON b.account_id = l.account_id AND b.key_id = l.id) AS limited`;

/** All keys that descend from $1 (`account_key:key_…`), through keys of the same owner. */
const DESCENDANTS = `
  WITH RECURSIVE descendants AS (
    SELECT k.* FROM api_keys k WHERE k.created_by = $1 AND k.account_id IS NOT DISTINCT FROM $2
    UNION ALL
    SELECT k.* FROM descendants d
      JOIN api_keys k ON k.created_by = split_part(d.created_by, ':', 1) || ':' || d.id
                     AND k.account_id IS NOT DISTINCT FROM $2)`;

const SPENDING_DESCENDANTS = `${DESCENDANTS}
  SELECT id FROM descendants
   WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) AND scopes && $4::text[]
   ORDER BY id`;

const LIVING_DESCENDANTS = `${DESCENDANTS}
  SELECT id FROM descendants WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) ORDER BY id`;

const REVOKE_DESCENDANTS = `${DESCENDANTS}, revoked AS (
    UPDATE api_keys k SET revoked_at = $3 FROM descendants d WHERE k.id = d.id AND k.revoked_at IS NULL
    RETURNING k.secret_hash)
  SELECT encode(secret_hash, 'hex') AS hash FROM revoked`;

/** A key's owner and id, as the ledger names it. */
type LineHead = Pick<ApiKeyEntity, 'id' | 'accountId'>;

/** Which key made which. Who made a key never changes, so a line once read stays right; it can only grow at its end. */
@Injectable()
export class KeyLineageRepository {
  /**
   * What the rules need to know of a key that asks. Its row is locked until the end of the tx, so that a revocation, a
   * spend limit and whatever the key makes come one after the other. Null for the operator key of the environment.
   */
  async lockAsker(tx: Tx, { keyId }: KeyReference): Promise<KeyFacts | null> {
    const row = await tx.findOne(ApiKeyEntity, { where: { id: keyId }, lock: { mode: 'pessimistic_read' } });
    return row === null ? null : { ...row, limited: await this.isLimited(tx, row) };
  }

  /**
   * Locks a key whose spend limits are about to change, and the key that asks for it, in the order of their ids: two keys
   * that limit each other do not wait for each other. Keys that spend are not held up: they take no lock of this row.
   */
  async lockForLimits(tx: Tx, keyId: string, asker: KeyReference): Promise<KeyFacts | null> {
    const lockTarget = () =>
      tx.findOne(ApiKeyEntity, { where: { id: keyId }, lock: { mode: 'for_no_key_update' } });
    if (asker.keyId > keyId) await lockTarget();
    const facts = await this.lockAsker(tx, asker);
    if (asker.keyId <= keyId) await lockTarget();
    return facts;
  }

  /** Ids of the keys that descend from an account's key and could spend now, themselves or through keys they make. */
  async spendingDescendants(tx: Tx, accountId: string, keyId: string, nowMs: number): Promise<string[]> {
    const values = [...lineOf({ id: keyId, accountId }), new Date(nowMs), SPENDING_SCOPES];
    const rows = await tx.query<{ id: string }[]>(SPENDING_DESCENDANTS, values);
    return rows.map(({ id }) => id);
  }

  /** Ids of the keys that descend from a key and are neither revoked nor expired. */
  async livingDescendants(tx: Tx, head: LineHead, nowMs: number): Promise<string[]> {
    const rows = await tx.query<{ id: string }[]>(LIVING_DESCENDANTS, [...lineOf(head), new Date(nowMs)]);
    return rows.map(({ id }) => id);
  }

  /**
   * Revokes all keys that descend from a key, whose row the caller has locked. A descendant that makes a key at this moment
   * keeps its row locked until that is committed, so it is asked again until there is none left. Answers their hashes.
   */
  async revokeDescendants(tx: Tx, head: LineHead, nowMs: number): Promise<string[]> {
    const hashes: string[] = [];
    for (let found = -1; found !== 0;) {
      const values = [...lineOf(head), new Date(nowMs)];
      const rows = await tx.query<{ hash: string }[]>(REVOKE_DESCENDANTS, values);
      hashes.push(...rows.map(({ hash }) => hash));
      found = rows.length;
    }
    return hashes;
  }

  private async isLimited(tx: Tx, { id, accountId, scopes }: ApiKeyEntity): Promise<boolean> {
    if (accountId === null || !scopes.includes('keys:write')) return false;
    const [row] = await tx.query<{ limited: boolean }[]>(IS_LIMITED, [id]);
    return row?.limited === true;
  }
}

/** The first two parameters of what reads descendants. */
function lineOf({ id, accountId }: LineHead): [string, string | null] {
  return [`${accountId === null ? 'operator_key' : 'account_key'}:${id}`, accountId];
}
