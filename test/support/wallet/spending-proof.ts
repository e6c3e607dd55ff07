import { expect } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { expectBooksToBalance } from '../../fixtures/books.js';
import { type Charge, type DebitCharge, type HeldCharge, isUndecided, type Spending } from './spending.js';

type Row = { readonly key: string; readonly transfer: string; readonly amount: string };

/** Charges only; what came in is the test's own doing. A charge has a transfer for every lot that it took from. */
const CHARGES = `
  SELECT account_id || ' ' || reference AS key, min(id) AS transfer, sum(amount_micros)::text AS amount
    FROM transfers WHERE kind IN ('debit', 'capture') AND account_id = ANY($1) GROUP BY account_id, reference`;

type HoldRow = { readonly key: string; readonly id: string; readonly state: string };

const HOLDS = `
  SELECT account_id || ' ' || reference AS key, id,
         CASE status WHEN 'captured' THEN 'captured ' || captured_micros ELSE status END AS state
    FROM holds WHERE account_id = ANY($1)`;

type Books = {
  readonly charged: ReadonlyMap<string, Row>;
  readonly holds: ReadonlyMap<string, HoldRow>;
};

/**
 * What was acknowledged is in the ledger exactly once, what was refused does not, what got no answer at
 * most once, and nothing else does; and the books prove themselves. Nothing may be spending in the meantime, and
 * nothing else from these accounts.
 */
export async function expectLedgerToAgree(dataSource: DataSource, spending: Spending): Promise<void> {
  const books = await readBooks(dataSource, spending);
  const faults = spending.charges.flatMap((charge) => faultsOf(books, charge));
  const sent = new Set(spending.charges.flatMap((charge) => referencesOf(books, charge)));
  const unknown = [...books.charged.keys()].filter((key) => !sent.has(key));
  expect({ faults, unknown }).toEqual({ faults: [], unknown: [] });
  await expectBooksToBalance(dataSource);
}

/** What could not be decided was refused in the documented way, and never because of a fault of ours. */
export function expectOnlyFailClosed(spending: Spending): void {
  const documented = {
    status: 503,
    retryAfter: '1',
    error: {
      type: 'service_unavailable',
      // The server may still work on what was sent by a process that is gone.
      code: expect.stringMatching(/^(database_unavailable|wallet_locked)$/),
      param: null,
      message: expect.any(String),
    },
  };
  for (const { status, headers, body } of spending.refusals) {
    expect({ status, retryAfter: headers.get('retry-after'), ...body }).toEqual(documented);
  }
}

/** How many charges were committed although their sender never heard of it: the interesting ones. */
export async function countCommittedInSilence(dataSource: DataSource, spending: Spending): Promise<number> {
  const books = await readBooks(dataSource, spending);
  return spending.charges.filter(isUndecided).filter((charge) => {
    if (charge.kind === 'debit') return books.charged.has(debitKey(charge));
    const hold = books.holds.get(holdKey(charge));
    return hold !== undefined && (charge.answer === null || hold.state !== 'authorized');
  }).length;
}

async function readBooks(dataSource: DataSource, { accounts }: Spending): Promise<Books> {
  const charged = await dataSource.query<Row[]>(CHARGES, [accounts]);
  const holds = await dataSource.query<HoldRow[]>(HOLDS, [accounts]);
  return {
    charged: new Map(charged.map((row) => [row.key, row])),
    holds: new Map(holds.map((row) => [row.key, row])),
  };
}

function referencesOf(books: Books, charge: Charge): string[] {
  if (charge.kind === 'debit') return [debitKey(charge)];
  const hold = books.holds.get(holdKey(charge));
  return hold === undefined ? [] : [captureKey(charge, hold.id)];
}

const debitKey = ({ account, reference }: Charge): string => `${account} debit:${reference}`;
const holdKey = ({ account, reference }: Charge): string => `${account} hold:${reference}`;
const captureKey = ({ account }: Charge, holdId: string): string => `${account} capture:${holdId}`;

function faultsOf(books: Books, charge: Charge): string[] {
  const found = charge.kind === 'debit' ? faultOfDebit(books, charge) : faultOfHold(books, charge);
  return found === null ? [] : [`${charge.kind} ${charge.reference}: ${found}`];
}

function faultOfDebit({ charged }: Books, charge: DebitCharge): string | null {
  const row = charged.get(debitKey(charge));
  const { answer, amountMicros } = charge;
  if (answer?.status === 402) return row === undefined ? null : `refused, and charged ${row.amount}`;
  if (answer !== null && answer.status >= 400) return `answered ${answer.status}`;
  if (row === undefined) return answer === null ? null : 'acknowledged, and not there';
  // A second charge under the reference would stand here as well.
  if (row.amount !== String(amountMicros)) return `charged ${row.amount} instead of ${amountMicros}`;
  if (answer !== null && answer.body.id !== row.transfer) return 'answered with the id of another charge';
  return null;
}

function faultOfHold({ charged, holds }: Books, charge: HeldCharge): string | null {
  const { answer, resolution, captureMicros } = charge;
  const hold = holds.get(holdKey(charge));
  if (answer?.status === 402) return hold === undefined ? null : 'refused, and held';
  if (answer !== null && answer.status >= 400) return `answered ${answer.status}`;
  if (hold === undefined) return answer === null ? null : 'acknowledged, and not there';
  if (answer !== null && answer.body.id !== hold.id) return 'answered with the id of another hold';
  const row = charged.get(captureKey(charge, hold.id));
  const captured = row === undefined ? 'nothing' : `captured ${row.amount}`;
  if (captured !== (hold.state.startsWith('captured') ? hold.state : 'nothing')) {
    return `${hold.state}, and in the ledger: ${captured}`;
  }
  const wanted = captureMicros === 0 ? 'voided' : `captured ${captureMicros}`;
  if (resolution !== null && resolution.status !== 200) return `resolution answered ${resolution.status}`;
  if (resolution !== null) return hold.state === wanted ? null : `${hold.state} instead of ${wanted}`;
  const possible = captureMicros === null ? ['authorized', 'expired'] : ['authorized', wanted];
  return possible.includes(hold.state) ? null : `${hold.state} without being asked to`;
}
