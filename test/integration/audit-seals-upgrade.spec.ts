import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  AUDIT_GENESIS_HASH,
  auditHash,
  type SealedFields,
} from '../../src/identity/audit-log/audit-chain.js';
import { newAuditEvent, insertAuditEvent } from '../../src/identity/audit-log/audit-event.js';
import { APPLICATION_ROLE } from '../../src/platform/database/service-role.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { UpgradeTest } from '../support/database/upgrade.js';

/** The schema and the rights of the version before. */
const UNDO = `
  DROP TRIGGER audit_events_sealed ON audit_events;
  DROP FUNCTION seal_inserted_audit_event;
  DROP FUNCTION seal_audit_event;
  DROP FUNCTION audit_hash;
  DROP FUNCTION audit_json;
  DROP TABLE audit_head;
  GRANT INSERT ON audit_seals TO ${APPLICATION_ROLE}`;

const EVENTS = `
  SELECT number, id, at, actor, act, object_type AS "objectType", object_id AS "objectId", account_id AS "accountId", before, after,
         reason, request_id AS "requestId", client_address AS "clientAddress" FROM audit_events ORDER BY number`;
const SEALS = `SELECT seq, event_number AS number, encode(hash, 'hex') AS hash FROM audit_seals ORDER BY seq`;

type Event = Omit<SealedFields, 'at'> & { readonly number: string; readonly at: Date };
type SealRow = { readonly seq: string; readonly number: string; readonly hash: string };

describe('a database of the time when a job sealed audit events', () => {
  let test: UpgradeTest;

  beforeAll(async () => {
    test = await UpgradeTest.open('1795300000052-audit-sealed-in-its-commit');
  });
  afterAll(() => test.close());

  const record = (object: string, after: Record<string, string>) =>
    insertAuditEvent(
      test.dataSource.manager,
      newAuditEvent('system', { act: 'account.read', object, account: null, after }),
    );

  /** As the job of the version before did: the first event that was there to be sealed was not the first in number. */
  async function sealAsBefore(order: readonly number[]): Promise<void> {
    const events = await test.owner.query<Event[]>(EVENTS);
    let hash = AUDIT_GENESIS_HASH;
    for (const [index, place] of order.entries()) {
      const { number, at, ...fields } = events[place] as Event;
      hash = auditHash(hash, index + 1, { ...fields, at: at.toISOString() });
      const sql = `INSERT INTO audit_seals (seq, event_number, hash) VALUES ($1, $2, decode($3, 'hex'))`;
      await test.dataSource.query(sql, [index + 1, number, hash]);
    }
  }

  const findings = async () =>
    (await findDiscrepancies(test.dataSource)).filter(({ table }) => table.startsWith('audit_'));

  it('keeps the seals that exist, seals the other events after them, and continues the same chain', async () => {
    const { owner, dataSource } = test;
    await owner.query(UNDO);
    for (const object of ['first', 'second', 'third', 'fourth', 'fifth']) {
      await record(object, { said: `„${object}"\n\\ 😀`, b: '', a: '' });
    }
    await sealAsBefore([0, 3, 2]);
    const sealed = await owner.query<SealRow[]>(SEALS);

    await test.upgrade();

    const [seals, events] = [await owner.query<SealRow[]>(SEALS), await owner.query<Event[]>(EVENTS)];
    expect(seals.slice(0, 3)).toEqual(sealed);
    expect(seals.slice(3).map(({ number }) => number)).toEqual([events[1]?.number, events[4]?.number]);
    expect(await findings()).toEqual([]);

    await record('sixth', {});
    const last = (await owner.query<SealRow[]>(SEALS)).at(-1);
    expect(last?.seq).toBe('6');
    expect(await findings()).toEqual([]);

    const forged = `INSERT INTO audit_seals SELECT 7, 1, hash FROM audit_head`;
    await expect(dataSource.query(forged)).rejects.toThrow('permission denied');
  });

  it('names an event that stayed without a place, which the owner can give it', async () => {
    const { owner } = test;
    await owner.query('ALTER TABLE audit_events DISABLE TRIGGER audit_events_sealed');
    await record('seventh', {});
    await owner.query('ALTER TABLE audit_events ENABLE TRIGGER audit_events_sealed');
    await record('eighth', {});
    expect(await findings()).toMatchObject([
      { table: 'audit_events', column: 'seq', expected: 'a place in the chain', found: 'none' },
    ]);
    await owner.query(`
      SELECT seal_audit_event(e) FROM audit_events e
       WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.event_number = e.number) ORDER BY e.number`);
    expect(await findings()).toEqual([]);
  });
});
