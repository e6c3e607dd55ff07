import type { OwnedRelief } from '../rules/batch.js';
import { rowOf, type Column, type TableWrite } from './table-write.js';

export const INSERT_RELIEFS: TableWrite = {
  code: 'nr',
  types: ['text', 'bigint', 'text', 'text', 'bigint', 'bigint', 'bigint'],
  text: (rows) => `
  INSERT INTO debt_reliefs (account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros)
  SELECT * FROM ${rows} AS v`,
};

export const newReliefColumns: readonly Column<OwnedRelief>[] = [
  (row) => row.accountId,
  (row) => row.seq,
  (row) => row.reference,
  (row) => row.kind,
  (row) => row.amountMicros.toString(),
  (row) => row.owedBesideMicros.toString(),
  (row) => row.undoneMicros.toString(),
];

export const UNDO_RELIEFS: TableWrite = {
  code: 'r',
  types: ['text', 'bigint', 'bigint'],
  text: (rows) => `
  UPDATE debt_reliefs SET undone_micros = v.undone
    FROM ${rows} AS v (account_id, seq, undone), ${rowOf('debt_reliefs', 'account_id', 'seq')}`,
};

export const undoneReliefColumns: readonly Column<OwnedRelief>[] = [
  (row) => row.accountId,
  (row) => row.seq,
  (row) => row.undoneMicros.toString(),
];
