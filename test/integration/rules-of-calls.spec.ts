import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

/** Three tables keep their rules in a function; each refuses under its own name, as a check of that name would. */
const GENERATION = `
  INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested, width,
                           height, response_format, output_format, fingerprint, media_key_id, status, lease_expires_at,
                           created_at, hold_id)
  SELECT 'acct_1', 'gen_1', 'key_1', 'req_1', model, id, 40000, 2, 64, 64, 'url', 'png', 'f', 'm', 'running', now(), now(),
         'hold_1' FROM prices WHERE amount_micros > 0 LIMIT 1`;
const TASK = `
  INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, task_id, status, created_at)
  VALUES ('acct_1', 'gen_1', 0, 1, 'black_forest_labs', 'task', 'pending', now())`;
const HOLD = `
  INSERT INTO holds (account_id, id, reference, fingerprint, amount_micros, captured_micros, status, created_at, expires_at)
  VALUES ('acct_1', 'hold_1', 'generation:gen_1', 'f', 80000, 0, 'authorized', now(), now())`;

const SUCCEEDED = `status = 'succeeded', finished_at = now()`;
const PAID = `${SUCCEEDED}, images_delivered = 1, charged_micros = 40000`;
const DELIVERED = `status = 'delivered', finished_at = now(), bytes = 1`;
const LONG = `repeat('x', 600)`;

/** By the rule that they break: changes of a sound row. */
const BROKEN: Readonly<Record<string, readonly string[]>> = {
  generations_id_form: [`id = 'job_1'`],
  generations_status_known: [`status = 'done'`],
  generations_images_bounded: [
    'images_requested = 11',
    'images_requested = 0',
    `${SUCCEEDED}, images_delivered = 3, charged_micros = 120000`,
  ],
  generations_size_positive: ['width = 0', 'height = -1'],
  generations_formats_known: [`response_format = 'json'`, `output_format = 'gif'`],
  generations_charged_as_delivered: [
    `${SUCCEEDED}, images_delivered = 2, charged_micros = 40000`,
    'charged_micros = 1',
  ],
  generations_success_delivers: [SUCCEEDED, 'images_delivered = 1, charged_micros = 40000'],
  generations_failure_named: [`status = 'failed', finished_at = now()`],
  generations_finished_once: ['finished_at = now()', `status = 'failed', error_code = 'upstream_failed'`],
  generations_paid_or_free: ['hold_id = NULL', 'price_micros = 0'],
  generations_fallback_is_ordinary: [`hold_id = NULL, provider_key_id = 'pk_1', fell_back_from = 'gen_0'`],
  generations_operation_known: [`operation = 'upscale'`],
  generations_edit_has_references: [
    `operation = 'edit'`,
    'references_count = 1',
    `operation = 'edit', references_count = 17`,
  ],
  generations_only_delivered_deleted: ['images_deleted_at = now()'],
  generations_tag_length: [`tag = ''`, `tag = ${LONG}`],
  generations_retry_state_known: [`retry_state = 'lost'`],
  generations_retry_claimed_by_one: [`retry_state = 'claimed'`, `retry_state = 'claimed', retry_claim = 'c'`],
  generations_retry_of_unkeyed: [`retry_state = 'open', idempotency_key = 'k'`],
  generations_attempt_of_unkeyed: ['last_attempt = -1', `last_attempt = 0, idempotency_key = 'k'`],
  generations_text_length: [`end_user = ${LONG}`, `idempotency_key = ''`, `idempotency_key = ${LONG}`],
  generation_tasks_status_known: [`status = 'done', finished_at = now()`],
  generation_tasks_position_bounded: ['position = 10', 'position = -1', 'attempt = 0', 'attempt = 101'],
  generation_tasks_delivered_stored: [`status = 'delivered', finished_at = now()`, 'bytes = 1'],
  generation_tasks_failure_named: [`status = 'failed', finished_at = now()`, `failure = 'lost'`],
  generation_tasks_finished_once: ['finished_at = now()', `status = 'delivered', bytes = 1`],
  generation_tasks_format_known: [`${DELIVERED}, image_format = 'gif'`],
  generation_tasks_format_of_delivered: [`image_format = 'png'`],
  generation_tasks_cost_not_negative: ['upstream_cost_micros = -1'],
  generation_tasks_text_length: [`task_id = ''`, `task_id = ${LONG}`, `polling_url = repeat('x', 2084)`],
  holds_amount_positive: ['amount_micros = 0', 'amount_micros = -1'],
  holds_status_known: [`status = 'lost', resolved_at = now()`],
  holds_captured_within: [
    'captured_micros = 1',
    `status = 'captured', resolved_at = now()`,
    `status = 'captured', resolved_at = now(), captured_micros = 80001`,
    `status = 'voided', resolved_at = now(), captured_micros = 1`,
  ],
  holds_resolved_once: ['resolved_at = now()', `status = 'voided'`],
  holds_attempt_not_negative: ['attempt = -1'],
  holds_text_length: [`reference = ${LONG}`, `memo = ${LONG}`],
};

const CASES = Object.entries(BROKEN).flatMap(([rule, changes]) =>
  changes.map((change) => [rule, change] as const),
);

const tableOf = (rule: string): string => /^(generation_tasks|generations|holds)/.exec(rule)?.[0] ?? '';

describe('the rules of a call', () => {
  let database: TestDatabase;
  let client: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(`
      INSERT INTO accounts (id, name, created_at) VALUES ('acct_1', 'One', now());
      INSERT INTO wallets (account_id) VALUES ('acct_1');
      INSERT INTO provider_keys (account_id, id, provider, last_four, fall_back_to_wallet, ciphertext, wrapped_key,
                                 master_key_id, created_at, attached_by)
      VALUES ('acct_1', 'pk_1', 'black_forest_labs', 'abcd', false, '\\x00', '\\x00', 'test', now(), 'test');
      ${GENERATION}; ${TASK}; ${HOLD}`);
  });

  afterAll(async () => {
    await client.end();
    await database.drop();
  });

  it.each(CASES)('refuse what breaks %s: %s', async (rule, change) => {
    const table = tableOf(rule);
    await expect(client.query(`UPDATE ${table} SET ${change}`)).rejects.toMatchObject({
      code: '23514',
      constraint: rule,
      table,
    });
  });

  it.each([PAID, `status = 'failed', error_code = 'upstream_failed', finished_at = now()`])(
    'let an outcome through: %s',
    async (outcome) => {
      await client.query('BEGIN');
      const { rowCount } = await client.query(`UPDATE generations SET ${outcome}`);
      await client.query('ROLLBACK');
      expect(rowCount).toBe(1);
    },
  );

  it('hold for new rows as well', async () => {
    const copied = client.query(HOLD.replace('80000', '0'));
    await expect(copied).rejects.toMatchObject({ code: '23514', constraint: 'holds_amount_positive' });
  });

  it('are all broken here, each under the name that its function gives it', async () => {
    const { rows } = await client.query<{ source: string }>(
      `SELECT prosrc AS source FROM pg_proc WHERE proname LIKE '%\\_rules\\_kept'`,
    );
    const named = rows.flatMap(({ source }) =>
      [...source.matchAll(/THEN '([a-z_]+)'/g)].map(([, name]) => name),
    );
    expect(rows).toHaveLength(3);
    expect(named.sort()).toEqual(Object.keys(BROKEN).sort());
  });
});
