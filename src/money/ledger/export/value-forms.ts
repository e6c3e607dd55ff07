import { EXPORT_COLUMNS, type ExportEnd, type ExportRow } from './export-format.js';

/** A value that no export spells like this. */
export type Malformed = { readonly column: string; readonly expected: string; readonly found: string };
type Form = readonly [isRight: (text: string) => boolean, expected: string];

const spelt =
  (form: RegExp) =>
  (text: string): boolean =>
    form.test(text);

const CHARACTERS = /^[^\0\p{Cs}]*$/u;
/** Almost no text has any of these, and this look is many times cheaper. */
const NOT_QUITE_PLAIN = /[\0\uD800-\uDFFF]/;

const COUNT: Form = [spelt(/^(0|[1-9][0-9]{0,14})$/), 'a whole number from 0'];
const WHOLE_NUMBER: Form = [spelt(/^[1-9][0-9]{0,14}$/), 'a whole number from 1'];
const BIGINT: Form = [spelt(/^(0|-?[1-9][0-9]{0,18})$/), 'a whole number of micro-dollars'];
const LEG: Form = [spelt(/^(0|[1-9][0-9]{0,4})$/), 'a whole number from 0'];
const SHA256_HEX: Form = [spelt(/^[0-9a-f]{64}$/), '64 hexadecimal digits'];
const TIME: Form = [isTime, 'a real time like 2026-11-22T08:02:11.123Z'];
const ACCOUNT: Form = [spelt(/^acct_[^\0\p{Cs}]+$/su), 'the id of an account, acct_…'];
/** What PostgreSQL can store: neither NUL nor half a surrogate pair, which JSON has escapes for. */
const TEXT: Form = [
  (text) => !NOT_QUITE_PLAIN.test(text) || CHARACTERS.test(text),
  'text without NUL and half surrogate pairs',
];

const FORMS = EXPORT_COLUMNS.map((column): readonly [typeof column, Form] => {
  switch (column) {
    case 'account_id':
      return [column, ACCOUNT];
    case 'seq':
      return [column, WHOLE_NUMBER];
    case 'amount_micros':
    case 'posted_after_micros':
      return [column, BIGINT];
    case 'leg':
      return [column, LEG];
    case 'previous_hash':
    case 'hash':
      return [column, SHA256_HEX];
    case 'created_at':
      return [column, TIME];
    default:
      return [column, TEXT];
  }
});

/** One spelling for each value: two files of the same rows are the same file. */
export function rowFormFault(row: ExportRow): Malformed | null {
  for (const [column, [isRight, expected]] of FORMS) {
    const found = row[column];
    if (found !== null && !isRight(found)) return { column, expected, found };
  }
  return null;
}

const END_FORMS = [
  ['rows', COUNT],
  ['from', TIME],
  ['to', TIME],
  ['account', ACCOUNT],
  ['exported_at', TIME],
  ['digest', SHA256_HEX],
] as const;

export function endFormFault(end: ExportEnd): Malformed | null {
  for (const [column, [isRight, expected]] of END_FORMS) {
    const found = end[column];
    if (found !== null && !isRight(found)) return { column, expected, found };
  }
  return null;
}

const ISO_MILLISECONDS = /^(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
let lastTime = '';

/** A time that a calendar has: not the 30th of February, not 24:00. Rows of one event carry the same time. */
function isTime(text: string): boolean {
  if (text === lastTime) return true;
  if (!ISO_MILLISECONDS.test(text)) return false;
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs) || new Date(timeMs).toISOString() !== text) return false;
  lastTime = text;
  return true;
}
