/**
 * A movement is decided in its row, booked in the wallet, and then noted as booked; a crash in between is repaired by a job within
 * minutes.
 */
const REPAIRED_WITHIN = `interval '1 hour'`;
/** The job books what is decided every minute. What is not booked by then cannot be, and a person has to see why. */
export const BOOKED_WITHIN = `interval '5 minutes'`;

/** The parts of a movement as the doctor compares them; below zero they left. */
const sumParts = (credit: string, fee: string, tax: string, excess: string): string =>
  `concat_ws(' ', 'credit', ${credit}, 'fee', ${fee}, 'tax', ${tax}, 'excess', ${excess})`;

const sumNet = (part: '' | '_fee' | '_tax' | '_excess'): string =>
  `sum(CASE kind WHEN 'reinstatement${part}' THEN amount_micros WHEN 'dispute${part}' THEN -amount_micros ELSE 0 END)`;

/** What each movement of a dispute moved in the ledger. */
const MOVED = `
  SELECT account_id, reference, split_part(reference, ':', 2) AS id, max(created_at) AS moved_at,
         ${sumParts(sumNet(''), sumNet('_fee'), sumNet('_tax'), sumNet('_excess'))} AS moved
    FROM transfers
   WHERE starts_with(reference, 'dispute:') AND kind NOT IN ('write_off', 'write_off_reversal')
   GROUP BY account_id, reference`;

/** What Stripe took and gave back is in the ledger to the micro-dollar, each time under its own reference. */
const MOVEMENTS = `
  SELECT 'disputes', 'account_id=' || m.account_id || ' id=' || m.dispute_id, 'movements',
         coalesce(t.moved, 'nothing moved') || ' by ' || m.reference, w.whole
    FROM dispute_movements m
    LEFT JOIN (${MOVED}) t ON t.account_id = m.account_id AND t.reference = m.reference
   CROSS JOIN LATERAL (
     SELECT ${sumParts('m.credit_micros', 'm.fee_micros', 'm.tax_micros', 'm.excess_micros')} AS whole) w
   WHERE CASE WHEN t.moved IS NULL THEN m.booked_at IS NOT NULL OR m.created_at < now() - ${BOOKED_WITHIN}
              ELSE t.moved <> w.whole OR (m.booked_at IS NULL AND t.moved_at < now() - ${BOOKED_WITHIN}) END`;

/**
 * No more is given up for a dispute, and not owed again, than it has taken, and no more owed again than was given up. What must be
 * owed again when money comes back follows from the whole wallet: the replay of its chain knows.
 */
const WRITE_OFFS = `
  SELECT 'disputes', 'account_id=' || d.account_id || ' id=' || d.id, 'movements',
         'at most ' || m.taken || ' written off, which is the credit taken',
         'written off ' || w.written_off || ', owed again ' || w.owed_again
    FROM disputes d
    JOIN (SELECT account_id, split_part(reference, ':', 2) AS id,
                 coalesce(sum(amount_micros) FILTER (WHERE kind = 'write_off'), 0) AS written_off,
                 coalesce(sum(amount_micros) FILTER (WHERE kind = 'write_off_reversal'), 0) AS owed_again
            FROM transfers WHERE starts_with(reference, 'dispute:') GROUP BY 1, 2) w
      ON w.account_id = d.account_id AND w.id = d.id
   CROSS JOIN LATERAL (
     SELECT coalesce(-sum(credit_micros) FILTER (WHERE credit_micros < 0), 0) AS taken
       FROM dispute_movements m WHERE m.account_id = d.account_id AND m.dispute_id = d.id) m
   WHERE w.written_off - w.owed_again > m.taken OR w.owed_again > w.written_off`;

/**
 * What a dispute took beyond its payment is a loss only as long as the rest of the payment is gone. When other money of it came
 * back, the loss becomes the parts of the payment that did.
 */
const LOSSES = `
  SELECT 'disputes', 'account_id=' || d.account_id || ' id=' || d.id, 'movements',
         'no loss while ' || (u.credit_micros - r.credit_micros) || ' of the credit of ' || u.id || ' is not gone',
         m.excess || ' beyond the payment'
    FROM (SELECT account_id, dispute_id, -sum(excess_micros) AS excess, max(created_at) AS decided_at
            FROM dispute_movements GROUP BY account_id, dispute_id HAVING sum(excess_micros) < 0) m
    JOIN disputes d ON d.account_id = m.account_id AND d.id = m.dispute_id
    JOIN top_ups u ON u.account_id = d.account_id AND u.id = d.top_up_id
   CROSS JOIN LATERAL returned_of_top_up(u.account_id, u.id) r
   WHERE r.credit_micros < u.credit_micros
     AND greatest(m.decided_at, (SELECT max(checked_at) FROM refunds f WHERE f.account_id = u.account_id AND f.top_up_id = u.id))
         < now() - ${REPAIRED_WITHIN}`;

export const DISPUTES = `${MOVEMENTS} UNION ALL ${WRITE_OFFS} UNION ALL ${LOSSES}`;

/** A movement of a process of an earlier release has its row once that has noted it in the dispute's. */
export const UNASKED_DISPUTES = `
  SELECT 'disputes', 'account_id=' || t.account_id || ' id=' || t.id, 'movements', t.moved || ' by ' || t.reference, 'none'
    FROM (${MOVED}) t
   WHERE NOT EXISTS (SELECT FROM dispute_movements m WHERE m.account_id = t.account_id AND m.reference = t.reference)
     AND (t.moved_at < now() - ${REPAIRED_WITHIN}
          OR NOT EXISTS (SELECT FROM disputes d WHERE d.account_id = t.account_id AND d.id = t.id))`;
