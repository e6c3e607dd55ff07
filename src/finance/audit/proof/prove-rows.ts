import type { Snapshot } from '../../../platform/database/snapshot.js';
import { type ProofCounts, type Report } from './discrepancy.js';

/**
 * A question whose every answer is a discrepancy. Its columns: the table, the key's parts as one text
 * `name=value name=value`, the column, what it should be, what it is.
 */
type Check = { readonly name: string; readonly sql: string };

const NONE = `'none'`;

/** Held credit is the sum of the open holds. */
const HELD: Check = {
  name: 'held',
  sql: `
    SELECT 'wallets', 'account_id=' || account_id, 'held_micros', coalesce(h.held, 0)::text,
           coalesce(w.held_micros::text, ${NONE})
      FROM wallets w
      FULL JOIN (SELECT account_id, sum(amount_micros) AS held FROM holds WHERE status = 'authorized' GROUP BY account_id) h
           USING (account_id)
     WHERE coalesce(h.held, 0) IS DISTINCT FROM w.held_micros`,
};

/** A captured hold has exactly its capture's transfers, every other hold has none, and no capture lacks a hold. */
const CAPTURES: Check = {
  name: 'captures',
  sql: `
    SELECT 'holds', 'account_id=' || account_id || ' id=' || coalesce(h.id, substr(reference, length('capture:') + 1)),
           'captured_micros', coalesce(t.captured, 0)::text, coalesce(h.captured_micros || ' ' || h.status, ${NONE})
      FROM (SELECT account_id, reference, sum(amount_micros) AS captured
              FROM transfers WHERE kind = 'capture' GROUP BY account_id, reference) t
      FULL JOIN (SELECT account_id, 'capture:' || id AS reference, id, status, captured_micros FROM holds) h
           USING (account_id, reference)
     WHERE h.id IS NULL OR coalesce(t.captured, 0) <> h.captured_micros
        OR (h.captured_micros > 0) <> (h.status = 'captured')`,
};

const HOLD_TIMES: Check = {
  name: 'hold times',
  sql: `
    SELECT 'holds', 'account_id=' || account_id || ' id=' || id, 'resolved_at',
           CASE WHEN status = 'authorized' THEN ${NONE} ELSE 'a time not before ' || created_at END,
           coalesce(resolved_at::text, ${NONE})
      FROM holds
     WHERE (status = 'authorized') <> (resolved_at IS NULL) OR resolved_at < created_at`,
};

/**
 * Every lot is the credit that one transfer brought in: the ledger has its size, side, cause and time. A write-off
 * without a lot brings none: it only lessens what is owed.
 */
const LOT_ORIGINS: Check = {
  name: 'lot origins',
  sql: `
    SELECT 'credit_lots', 'account_id=' || account_id || ' id=' || coalesce(id, '(none)'), 'granted_micros',
           coalesce(t.origin, ${NONE} || ': no transfer opened it'), coalesce(l.origin, ${NONE})
      FROM (SELECT account_id, lot_id AS id, seq,
                   concat_ws(' ', amount_micros, CASE credit_account WHEN 'customer_credit' THEN 'paid' ELSE 'promotional' END,
                             kind, created_at) AS origin
              FROM transfers WHERE credit_account IN ('customer_credit', 'customer_promo')
                                   AND (lot_id IS NOT NULL OR kind <> 'write_off')) t
      FULL JOIN (SELECT account_id, id, concat_ws(' ', granted_micros, kind, source, created_at) AS origin FROM credit_lots) l
           USING (account_id, id)
     WHERE t.origin IS DISTINCT FROM l.origin`,
};

/** What was given is never refundable, and what was bought is; of what came back, the part that had not been spent. */
const REFUNDABLE: Check = {
  name: 'refundable',
  sql: `
    SELECT 'credit_lots', 'account_id=' || account_id || ' id=' || id, 'refundable', (NOT refundable)::text, refundable::text
      FROM credit_lots
     WHERE (refundable AND source NOT IN ('top_up', 'reinstatement')) OR (NOT refundable AND source = 'top_up')`,
};

/**
 * Debt that was paid with what no one bought is recorded, so that it can be undone: each write-off, and what a lot of given
 * credit never had because it paid debt; but for what an earlier release gave back of a customer's own money. What was undone of
 * the write-offs is owed again.
 */
const RELIEFS: Check = {
  name: 'reliefs',
  sql: `
    WITH moved AS (
      SELECT account_id, lot_id, min(seq) AS seq, coalesce(sum(amount_micros) FILTER (WHERE debit_account = 'customer_credit'), 0) AS taken
        FROM transfers WHERE lot_id IS NOT NULL AND 'customer_credit' IN (debit_account, credit_account)
       GROUP BY account_id, lot_id
    ), posted AS (
      SELECT account_id, seq, 'write_off' AS kind, amount_micros, false AS may_be_own FROM transfers WHERE kind = 'write_off'
      UNION ALL
      SELECT l.account_id, m.seq, 'given_credit', l.granted_micros - l.remaining_micros - m.taken,
             l.source = 'reinstatement' AND EXISTS (SELECT FROM reliefs_carried_over c WHERE c.account_id = l.account_id)
        FROM credit_lots l JOIN moved m ON m.account_id = l.account_id AND m.lot_id = l.id
       WHERE l.kind = 'paid' AND NOT l.refundable AND l.source <> 'write_off' AND l.granted_micros - l.remaining_micros > m.taken
    )
    SELECT 'debt_reliefs', 'account_id=' || account_id || ' seq=' || seq, 'amount_micros',
           coalesce(concat_ws(' ', p.kind, p.amount_micros), ${NONE}), coalesce(concat_ws(' ', r.kind, r.amount_micros), ${NONE})
      FROM posted p FULL JOIN debt_reliefs r USING (account_id, seq)
     WHERE (p.kind, p.amount_micros) IS DISTINCT FROM (r.kind, r.amount_micros) AND NOT (r.seq IS NULL AND p.may_be_own)
    UNION ALL
    SELECT 'debt_reliefs', 'account_id=' || account_id, 'undone_micros', coalesce(t.owed_again, 0)::text, coalesce(r.undone, 0)::text
      FROM (SELECT account_id, sum(amount_micros) AS owed_again FROM transfers WHERE kind = 'write_off_reversal' GROUP BY account_id) t
      FULL JOIN (SELECT account_id, sum(undone_micros) AS undone FROM debt_reliefs WHERE kind = 'write_off' GROUP BY account_id) r
           USING (account_id)
     WHERE coalesce(t.owed_again, 0) <> coalesce(r.undone, 0)`,
};

/** Credit only lapses when its time is over. */
const EXPIRIES: Check = {
  name: 'expiries',
  sql: `
    SELECT 'credit_lots', 'account_id=' || l.account_id || ' id=' || l.id, 'expires_at',
           'not after its expiry at ' || min(t.created_at), coalesce(l.expires_at::text, ${NONE})
      FROM transfers t JOIN credit_lots l ON l.account_id = t.account_id AND l.id = t.lot_id
     WHERE t.kind = 'expiry' AND (l.expires_at IS NULL OR l.expires_at > t.created_at)
     GROUP BY l.account_id, l.id, l.expires_at`,
};

/** Processes' clocks differ; two events closer than this have no certain order. */
const CLOCK_SKEW = `interval '5 minutes'`;

/** A wallet is frozen exactly while a reason is in force. */
const FREEZES: Check = {
  name: 'freezes',
  sql: `
    SELECT 'wallets', 'account_id=' || w.account_id, 'status',
           CASE WHEN f.reasons IS NULL THEN 'active' ELSE 'frozen for ' || f.reasons END, w.status
      FROM wallets w
      LEFT JOIN (SELECT account_id, string_agg(concat_ws(' ', source, source_id), ', ' ORDER BY id) AS reasons
                   FROM wallet_freezes WHERE lifted_at IS NULL GROUP BY account_id) f USING (account_id)
     WHERE (w.status = 'frozen') <> (f.reasons IS NOT NULL)`,
};

/**
 * Every change of a wallet's status is recorded, so it is that of the last one. Earlier releases did not record that a
 * dispute froze one, so a dispute that came later counts as well.
 */
const STATUSES: Check = {
  name: 'statuses',
  sql: `
    WITH changed AS (
      SELECT DISTINCT ON (account_id) account_id, status, created_at FROM wallet_status_changes
       ORDER BY account_id, created_at DESC, id DESC
    ), disputed AS (
      SELECT account_id, max(created_at) AS created_at FROM transfers WHERE kind = 'dispute' GROUP BY account_id
    ), judged AS (
      SELECT w.account_id, w.status,
             coalesce(c.status = 'frozen' OR d.created_at > c.created_at + ${CLOCK_SKEW},
                      c.status = 'frozen', d.created_at IS NOT NULL) AS must_be_frozen,
             coalesce(c.status = 'frozen' OR d.created_at > c.created_at - ${CLOCK_SKEW},
                      c.status = 'frozen', d.created_at IS NOT NULL) AS may_be_frozen
        FROM wallets w LEFT JOIN changed c USING (account_id) LEFT JOIN disputed d USING (account_id)
    )
    SELECT 'wallets', 'account_id=' || account_id, 'status', CASE status WHEN 'frozen' THEN 'active' ELSE 'frozen' END, status
      FROM judged
     WHERE (status = 'frozen' AND NOT may_be_frozen) OR (status <> 'frozen' AND must_be_frozen)`,
};

/** An active wallet never promises more than it has. */
const FLOORS: Check = {
  name: 'floors',
  sql: `
    SELECT 'wallets', 'account_id=' || account_id, 'posted_micros', 'at least held_micros + floor_micros = ' || (held_micros + floor_micros),
           posted_micros::text
      FROM wallets WHERE posted_micros - held_micros < floor_micros AND status <> 'frozen'`,
};

/** What hangs on an account or a wallet that is not there. */
const ORPHANS: Check = {
  name: 'orphans',
  sql: `
    SELECT 'wallets', 'account_id=' || account_id, 'account_id', 'an account', ${NONE}
      FROM wallets w WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = w.account_id)
    UNION ALL
    SELECT 'credit_lots', 'account_id=' || account_id || ' id=' || id, 'account_id', 'a wallet', ${NONE}
      FROM credit_lots l WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.account_id = l.account_id)
    UNION ALL
    SELECT 'holds', 'account_id=' || account_id || ' id=' || id, 'account_id', 'a wallet', ${NONE}
      FROM holds h WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.account_id = h.account_id)
    UNION ALL
    SELECT 'wallet_status_changes', 'account_id=' || account_id || ' id=' || id, 'account_id', 'a wallet', ${NONE}
      FROM wallet_status_changes s WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.account_id = s.account_id)`,
};

const CHECKS = [
  HELD,
  CAPTURES,
  HOLD_TIMES,
  LOT_ORIGINS,
  REFUNDABLE,
  RELIEFS,
  EXPIRIES,
  FREEZES,
  STATUSES,
  FLOORS,
  ORPHANS,
] as const;

/** What whole tables say about each other, each question one statement: the server is faster at sets than we are. */
export async function proveRows(snapshot: Snapshot, report: Report, counts: ProofCounts): Promise<void> {
  for (const { sql } of CHECKS) await reportAll(snapshot, sql, report);
  const [totals] = await snapshot.rows(
    'SELECT (SELECT count(*) FROM credit_lots), (SELECT count(*) FROM holds)',
  );
  counts.lots = Number(totals?.[0] ?? 0);
  counts.holds = Number(totals?.[1] ?? 0);
}

/** For questions of the same form that other modules ask about their own tables. */
export async function reportAll(snapshot: Snapshot, sql: string, report: Report): Promise<void> {
  for await (const batch of snapshot.stream(sql)) {
    for (const row of batch) {
      const [table, key, column, expected, found] = row as readonly [string, string, string, string, string];
      report({ table, key, column, expected, found });
    }
  }
}
