import { describe, expect, it } from '@jest/globals';
import { ChainWalk } from '../../src/money/ledger/chain-walk.js';
import {
  chainHash,
  GENESIS_HASH,
  transferId,
  type ExportedTransfer,
} from '../../src/money/ledger/transfer.js';

const ACCOUNT_ID = 'acct_1';

type Row = Pick<ExportedTransfer, 'seq' | 'posted_after_micros'>;

/** A grant of one micro-dollar each, as far as `row` says nothing else. */
function grant(number: number, previousHash: string, row: Partial<Row> = {}): ExportedTransfer {
  const unhashed = {
    account_id: ACCOUNT_ID,
    seq: `${number}`,
    id: transferId(ACCOUNT_ID, number),
    kind: 'grant',
    debit_account: 'promotional_credit',
    credit_account: 'customer_promo',
    amount_micros: '1',
    lot_id: `lot_${number}`,
    posted_after_micros: `${number}`,
    reference: `grant:${number}`,
    leg: '0',
    link_id: `lnk_${number}`,
    actor: 'test',
    memo: null,
    created_at: '2026-11-01T00:00:00.000Z',
    ...row,
  };
  return { ...unhashed, hash: chainHash(previousHash, unhashed) };
}

/** The numbers of the rows that the walk names. */
function faultsOf(rows: Iterable<ExportedTransfer>): number[] {
  const walk = new ChainWalk(ACCOUNT_ID, 'first_row');
  return [...rows].flatMap((row) => (walk.next(row) === null ? [] : [Number(row.seq)]));
}

function* chain(length: number, wrong: (number: number) => Partial<Row>): Generator<ExportedTransfer> {
  let previousHash = GENESIS_HASH;
  for (let number = 1; number <= length; number += 1) {
    const row = grant(number, previousHash, wrong(number));
    previousHash = row.hash;
    yield row;
  }
}

describe('a walk along a chain', () => {
  it('names each of many wrong rows, and not the row after them that continues the ones before', () => {
    const isWrong = (number: number): boolean => number > 10 && number <= 60;
    const rows = chain(70, (number) => (isWrong(number) ? { posted_after_micros: `${number ** 3}` } : {}));
    expect(faultsOf(rows)).toEqual(Array.from({ length: 50 }, (_, index) => index + 11));
  });

  /** Would take minutes, and gigabytes, if each wrong row were held against all wrong rows before it. */
  it('names every row of a long chain in which every row is wrong', () => {
    const rows = 80_000;
    const faults = faultsOf(chain(rows, (number) => ({ posted_after_micros: `${number ** 2 + 7}` })));
    expect(faults).toHaveLength(rows);
  });
});
