import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Client } from 'pg';
import { auditHash } from '../../src/identity/audit-log/audit-chain.js';
import type { AuditValue } from '../../src/identity/audit-log/audit-event.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import { checkProperty } from '../support/property.js';

let database: TestDatabase;
let owner: Client;
beforeAll(async () => {
  database = await createTestDatabase();
  owner = new Client({ connectionString: database.url });
  await owner.connect();
});
afterAll(async () => {
  await owner.end();
  await database.drop();
});

/** Whatever PostgreSQL stores: any character but U+0000, including those that JSON escapes and the neighbours of the surrogates. */
const text = fc
  .string({
    unit: fc.oneof(
      fc.string({ unit: 'binary', maxLength: 1 }),
      fc.constantFrom(...'"\\/\b\f\n\r\t\u0001\u001f\u007f\u2028\ue000😀'),
    ),
  })
  .map((value) => value.replaceAll('\0', ''));
const name = fc.string({ unit: 'grapheme-ascii' });
const { details } = fc.letrec<{ value: AuditValue; details: Readonly<Record<string, AuditValue>> }>(
  (tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      text,
      fc.array(tie('value'), { maxLength: 4 }),
      tie('details'),
    ),
    details: fc.dictionary(name, tie('value'), { maxKeys: 5, noNullPrototype: true }),
  }),
);
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const event = fc.record({
  id: text,
  at: fc
    .date({
      min: new Date('0001-01-01T00:00:00Z'),
      max: new Date('9999-12-31T00:00:00Z'),
      noInvalidDate: true,
    })
    .map((at) => at.toISOString()),
  actor: text,
  act: text,
  objectType: text,
  objectId: text,
  accountId: maybe(text),
  before: maybe(details),
  after: maybe(details),
  reason: maybe(text),
  requestId: maybe(text),
  clientAddress: maybe(text),
});
const previous = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((hash) => Buffer.from(hash).toString('hex'));

/** As the database seals such a row. */
const HASH = `
  SELECT encode(audit_hash(decode($1, 'hex'), $2, ROW(1, $3::text, $4::timestamptz, $5::text, $6::text, $7::text, $8::text, $9::text,
                                                      $10::jsonb, $11::jsonb, $12::text, $13::text, $14::text)::audit_events), 'hex') AS hash`;

describe('the hash of an audit event', () => {
  it('is the same whether the database computes it or the doctor, whatever is recorded', async () => {
    await checkProperty(
      'audit spelling',
      fc.asyncProperty(previous, fc.integer({ min: 1 }), event, async (before, seq, fields) => {
        const json = (value: unknown) => (value === null ? null : JSON.stringify(value));
        const { rows } = await owner.query<{ hash: string }>(HASH, [
          before,
          seq,
          fields.id,
          fields.at,
          fields.actor,
          fields.act,
          fields.objectType,
          fields.objectId,
          fields.accountId,
          json(fields.before),
          json(fields.after),
          fields.reason,
          fields.requestId,
          fields.clientAddress,
        ]);
        expect(rows[0]?.hash).toBe(auditHash(before, seq, fields));
      }),
      { runs: 2_000 },
    );
  });
});
