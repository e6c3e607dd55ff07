import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { LEDGER_ACCOUNTS, PLATFORM_KINDS, POSTING_RULES } from '../../src/money/ledger/transfer.js';
import { decodeCell, encodeCell } from '../../src/platform/common/csv-cell.js';
import { EXPORT_ENCODERS, toJsonLine, type ExportRow } from '../../src/money/ledger/export/export-format.js';
import { readExport } from '../../src/money/ledger/export/read-export.js';
import { inPieces, verdictOf } from '../support/wallet/export-files.js';

const readme = readFileSync(new URL('../../src/money/ledger/README.md', import.meta.url), 'utf8');

/** The cells of the rows of a table whose head begins with these words. */
function tableOf(head: string): string[][] {
  const lines = readme.split('\n');
  const from = lines.findIndex((line) => new RegExp(`^\\| ${head} +\\|`).test(line)) + 2;
  const rows = lines.slice(from, lines.indexOf('', from));
  return rows.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

const block = (language: string): string =>
  new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(readme)?.[1] ?? '';

describe('the README of the ledger, from which others write verifiers', () => {
  it('lists every ledger account with its type', () => {
    const listed = tableOf('type').flatMap(([type = '', accounts = '']) =>
      [...accounts.matchAll(/`(\w+)`/g)].map(([, name]) => `${name} ${type}`),
    );
    const types = { asset: 'assets', liability: 'liabilities', income: 'income', expense: 'expenses' };
    const known = Object.entries(LEDGER_ACCOUNTS).map(([name, type]) => `${name} ${types[type]}`);
    expect(listed.sort()).toEqual(known.sort());
  });

  it('lists every posting rule, and which kinds are the platform’s', () => {
    const listed = tableOf('kind').flatMap(([kind, postings = '', book]) =>
      [...postings.matchAll(/`(\w+)` → `(\w+)`/g)].map(
        ([, debit, credit]) => `${kind?.replaceAll('`', '')} ${debit} ${credit} ${book}`,
      ),
    );
    const known = Object.entries(POSTING_RULES).flatMap(([kind, pairs]) =>
      pairs.map(
        ([debit, credit]) =>
          `${kind} ${debit} ${credit} ${PLATFORM_KINDS.has(kind as never) ? 'platform' : ''}`,
      ),
    );
    expect(listed.sort()).toEqual(known.sort());
  });

  it('shows texts and their cells as an export writes and reads them', () => {
    const examples = tableOf('text').map((cells) =>
      cells.slice(0, 2).map((cell) => JSON.parse(cell.slice(1, -1).trim() || 'null') as string | null),
    );
    expect(examples.length).toBeGreaterThan(8);
    for (const [text = null, cell = null] of examples) {
      expect(encodeCell(text)).toBe(cell ?? '');
      expect(decodeCell(cell ?? '')).toBe(text);
    }
  });

  it('shows a whole export as CSV, byte for byte, and one row of it as JSONL', async () => {
    const text = block('csv');
    expect(await verdictOf(text)).toMatchObject({ ok: true, summary: { accounts: 1 } });
    const rows: ExportRow[] = [];
    const encoder = EXPORT_ENCODERS.csv;
    let written = encoder.head;
    for await (const records of readExport(inPieces(text, 97))) {
      for (const record of records) {
        if ('row' in record) rows.push(record.row);
        if ('end' in record) written += encoder.rows(rows) + encoder.end(record.end);
      }
    }
    expect(written).toBe(text);
    const last = rows.at(-1) as ExportRow;
    expect(block('txt')).toBe(`${toJsonLine(last)}\n`);
    expect(readme.replace(/\s+/g, ' ')).toContain(`\`${JSON.stringify(last.memo)}\``);
  });
});
