import fc from 'fast-check';
import { compareBytes } from '../../../src/money/ledger/byte-order.js';
import type { ExportEnd, ExportRow } from '../../../src/money/ledger/export/export-format.js';
import { transferId } from '../../../src/money/ledger/transfer.js';
import { anyText } from '../any-text.js';
import { forgeHashes, type ExportFile } from './export-files.js';

export const END: ExportEnd = {
  rows: '0',
  from: null,
  to: null,
  account: null,
  exported_at: '2026-12-01T06:00:00.000Z',
  digest: '0'.repeat(64),
};

const MINUTE_MS = 60_000;
const START_MS = Date.UTC(2026, 10, 1);

type Debit = Pick<ExportRow, 'link_id' | 'actor' | 'memo'> & { readonly reference: string };

const debit: fc.Arbitrary<Debit> = fc.record({
  reference: anyText(),
  link_id: anyText(),
  actor: anyText(),
  memo: fc.option(anyText()),
});

/** An account, one credit to it in a lot of any name, and debits with texts of any kind. */
const book: fc.Arbitrary<ExportRow[]> = fc
  .record({
    accountId: anyText({ minLength: 1, maxLength: 12 }).map((text) => `acct_${text}`),
    lotId: anyText(),
    debits: fc.uniqueArray(debit, { maxLength: 4, selector: ({ reference }) => reference }),
  })
  .map(({ accountId, lotId, debits }) => {
    const credit = { reference: 'the credit', link_id: 'lnk', actor: 'stripe', memo: null };
    return [credit, ...debits.filter(({ reference }) => reference !== credit.reference)].map(
      (texts, index): ExportRow => ({
        account_id: accountId,
        seq: `${index + 1}`,
        id: transferId(accountId, index + 1),
        kind: index === 0 ? 'top_up' : 'debit',
        debit_account: index === 0 ? 'stripe_clearing' : 'customer_credit',
        credit_account: index === 0 ? 'customer_credit' : 'usage_revenue',
        amount_micros: index === 0 ? '100' : '1',
        lot_id: lotId,
        posted_after_micros: `${100 - index}`,
        leg: '0',
        created_at: new Date(START_MS + index * MINUTE_MS).toISOString(),
        previous_hash: '',
        hash: '',
        ...texts,
      }),
    );
  });

/** Whole exports that keep every rule, with texts of all of Unicode in every column that people or callers write. */
export const anyBooks: fc.Arbitrary<ExportFile> = fc
  .uniqueArray(book, { maxLength: 3, selector: ([first]) => first?.account_id })
  .map((books) => {
    const rows = books.sort(([a], [b]) => compareBytes(a?.account_id ?? '', b?.account_id ?? '')).flat();
    return forgeHashes({ rows, end: END });
  });
