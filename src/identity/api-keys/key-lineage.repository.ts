import { Injectable } from '@nestjs/common';
import type { Principal } from '../auth/principal.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { ApiKeyEntity } from './api-key.entity.js';
import { type KeyFacts, SPENDING_SCOPES } from './key-policy.js';

/** An API key, or the operator key of the environment, which has no row. */
type KeyReference = Pick<Principal, 'keyId' | 'kind'>;

/** Revoked ancestors count as well, because a key stays a descendant when its maker ends. */
const IS_LIMITED = `
  WITH RECURSIVE line AS (
    SELECT k.id, k.account_id, k.created_by FROM api_keys k WHERE k.id = $1
    UNION ALL
    SELECT m.id, m.account_id, m.created_by
      FROM line l JOIN api_keys m ON m.id = split_part(l.created_by, ':', 2) AND m.account_id = l.account_id)
  SELECT EXISTS (
    SELECT FROM line l JOIN key_budgets b ON b.account_id = l.account_id AND b.key_id = l.id) AS limited`;

/** Selects all keys that descend from $1 (`account_key:key_…`), through keys of the same owner. */
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

/** A key's id and owner, from which the ledger's notation is built. */
type LineHead = Pick<ApiKeyEntity, 'id' | 'accountId'>;

/** Which key made which. The maker of a key never changes, so a line that was read stays valid; it can only grow at its end. */
@Injectable()
export class KeyLineageRepository {
  /**
   * Returns what the rules need to know of the requesting key. Its row is locked until the end of the tx, so that a revocation,
   * a spend limit and keys that it makes happen one after the other. Null for the operator key of the environment.
   */
  async lockAsker(tx: Tx, { keyId }: KeyReference): Promise<KeyFacts | null> {
    const row = await tx.findOne(ApiKeyEntity, { where: { id: keyId }, lock: { mode: 'pessimistic_read' } });
    return row === null ? null : { ...row, limited: await this.isLimited(tx, row) };
  }

  /**
   * Locks a key whose spend limits are about to change, and the key that asks for the change, in the order of their ids: two
   * keys that limit each other do not deadlock. Keys that spend are not delayed, because they take no lock of this row.
   */
  async lockForLimits(tx: Tx, keyId: string, asker: KeyReference): Promise<KeyFacts | null> {
    const lockTarget = () =>
      tx.findOne(ApiKeyEntity, { where: { id: keyId }, lock: { mode: 'for_no_key_update' } });
    if (asker.keyId > keyId) await lockTarget();
    const facts = await this.lockAsker(tx, asker);
    if (asker.keyId <= keyId) await lockTarget();
    return facts;
  }

  /** Returns the ids of the keys that descend from an account's key and could spend now, themselves or through keys they make. */
  async spendingDescendants(tx: Tx, accountId: string, keyId: string, nowMs: number): Promise<string[]> {
    const values = [...toLineParameters({ id: keyId, accountId }), new Date(nowMs), SPENDING_SCOPES];
    const rows = await tx.query<{ id: string }[]>(SPENDING_DESCENDANTS, values);
    return rows.map(({ id }) => id);
  }

  /** Returns the ids of the keys that descend from a key and are neither revoked nor expired. */
  async livingDescendants(tx: Tx, head: LineHead, nowMs: number): Promise<string[]> {
    const rows = await tx.query<{ id: string }[]>(LIVING_DESCENDANTS, [
      ...toLineParameters(head),
      new Date(nowMs),
    ]);
    return rows.map(({ id }) => id);
  }

  /**
   * Revokes all keys that descend from a key, whose row the caller has locked. A descendant that makes a key at this moment
   * keeps its row locked until that is committed, so the query is repeated until it finds none. Returns their hashes.
   */
  async revokeDescendants(tx: Tx, head: LineHead, nowMs: number): Promise<string[]> {
    const hashes: string[] = [];
    for (let found = -1; found !== 0;) {
      const values = [...toLineParameters(head), new Date(nowMs)];
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

/** Returns the first two parameters of the queries that read descendants. */
function toLineParameters({ id, accountId }: LineHead): [string, string | null] {
  return [`${accountId === null ? 'operator_key' : 'account_key'}:${id}`, accountId];
}
