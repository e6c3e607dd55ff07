import {
  EXPORT_ENCODERS,
  toJsonLine,
  type ExportFormat,
} from '../../../src/money/ledger/export/export-format.js';
import type { SeededRandom } from '../seeded-random.js';
import { putTogether } from './export-files.js';
import { bytes, tampered, type Tamper } from './export-tampers.js';

const BYTE_ORDER_MARK = '\uFEFF';

/**
 * Files with the values of a genuine export in another spelling, and bytes that stray into one. What an editor or a
 * browser does to a file on its own is accepted; everything else is refused, for another reader may see other values.
 */
export const SPELLINGS: Readonly<Record<string, Tamper>> = {
  'a byte order mark before everything': edited((text) => `${BYTE_ORDER_MARK}${text}`, 'accepted'),
  'no line feed at the very end': edited((text) => text.slice(0, -1), 'accepted'),
  'line ends of Windows': (genuine, random) => {
    if (genuine.format === 'jsonl') {
      return tampered(putTogether(genuine, 'jsonl').replaceAll('\n', '\r\n'), 'refused');
    }
    // Only those of records: within quotes they are text.
    const encoder = EXPORT_ENCODERS.csv;
    const records = [
      encoder.head,
      ...genuine.rows.map((row) => encoder.rows([row])),
      encoder.end(genuine.end),
    ];
    const windows = records.map((record) => (random.next() < 0.8 ? record.replace(/\n$/, '\r\n') : record));
    return tampered(windows.join(''), 'accepted');
  },

  'two byte order marks': edited((text) => `${BYTE_ORDER_MARK.repeat(2)}${text}`),
  'a byte order mark before a later line, or at the end': edited((text, random) => {
    const starts = [...text.matchAll(/\n/g)].map(({ index }) => index + 1);
    return putIn(text, random.pick(starts), BYTE_ORDER_MARK);
  }),
  'a character put in anywhere': edited((text, random) => {
    const stray = random.pick([
      '\0',
      ' ',
      '\t',
      '\r',
      '\r\n',
      '"',
      "'",
      ',',
      BYTE_ORDER_MARK,
      '\u0085',
      '{',
      '0',
    ]);
    return putIn(text, random.between(1, text.length - 2), stray);
  }),
  'bytes that are not UTF-8': bytes((file, random) => {
    const stray = random.pick([
      [0xff],
      [0xc0, 0xaf],
      [0xed, 0xa0, 0xbd],
      [0xf5, 0x80, 0x80, 0x80],
      [0xe2, 0x82],
    ]);
    const at = random.between(0, file.length - 1);
    return Buffer.concat([file.subarray(0, at), Buffer.from(stray), file.subarray(at)]);
  }),
  'an empty line': edited((text, random) => {
    const starts = [...text.matchAll(/\n/g)].map(({ index }) => index + 1);
    return putIn(text, random.pick([0, ...starts]), '\n');
  }),
  'a line after the last': edited((text) => `${text}${text.split('\n')[1]}\n`),

  'a member twice': jsonRow((line, random) => {
    const member = random.pick([
      '"amount_micros":"1"',
      '"memo":null',
      '"account_id":"acct_other"',
      ...membersOf(line),
    ]);
    const places = [...line.matchAll(/(?<=^\{)|(?=\}$)/g)].map(({ index }) => index);
    const at = random.pick(places);
    return putIn(line, at, at === 1 ? `${member},` : `,${member}`);
  }),
  'members in another order': jsonRow((line, random) => {
    const members = membersOf(line);
    const at = random.between(0, members.length - 2);
    members.splice(at, 2, members[at + 1] as string, members[at] as string);
    return `{${members.join(',')}}`;
  }),
  'a member missing, or one more': jsonRow((line, random) => {
    const members = membersOf(line);
    if (random.next() < 0.5) members.splice(random.between(0, members.length - 1), 1);
    else members.push(random.pick(['"further":"x"', '"__proto__":"x"', '"object":"end_of_export"']));
    return `{${members.join(',')}}`;
  }),
  'blanks between members': jsonRow((line, random) => {
    const blank = random.pick([' ', '\t', '\r']);
    return random.pick([
      `${line}${blank}`,
      line.replace('{', `{${blank}`),
      line.replace('":"', `":${blank}"`),
    ]);
  }),
  'an escape that is not needed': jsonRow((line, random) =>
    random.pick([
      line.replace('"acct_', '"\\u0061cct_'),
      line.replace('"memo"', '"\\u006demo"'),
      line.replace(/(?<=:")[a-z]/, (letter) => `\\u00${letter.charCodeAt(0).toString(16).toUpperCase()}`),
    ]),
  ),
  'a number instead of a text': jsonRow((line) => line.replace(/"seq":"(\d+)"/, '"seq":$1')),

  'quotes that are not needed': csvRow((record) => record.replace(/^[^,]*/, '"$&"')),
  'quotes that are missing or wrong': csvRow((record, random) =>
    random.pick([
      record.replace(/^acct_/, 'acct_"'),
      record.replace(/^[^,]*/, '"$&"x'),
      record.replace(/^[^,]*/, '"$&'),
      record.replace(/^[^,]*/, '"$& "'),
    ]),
  ),
  'a carriage return without quotes': csvRow((record, random) =>
    random.pick([record.replace(',', '\r,'), record.replace(/\n$/, '\r\r\n'), record.replace(/,/, ',\r')]),
  ),
  'an apostrophe more': csvRow((record) => record.replace(/,(?=[^",]*,[^,]*,[0-9a-f]{64},)/, ",'")),
  'an apostrophe less': edited((text, random) => {
    const places = [...text.matchAll(/'/g)].map(({ index }) => index);
    if (places.length === 0) return null;
    const at = random.pick(places);
    return text.slice(0, at) + text.slice(at + 1);
  }),
  'a cell more or less': csvRow((record, random) =>
    random.pick([record.replace(/^[^,]*,/, ''), record.replace(/\n$/, ',\n'), `,${record}`]),
  ),
};

function putIn(text: string, at: number, stray: string): string {
  return text.slice(0, at) + stray + text.slice(at);
}

function edited(
  edit: (text: string, random: SeededRandom) => string | null,
  expect: 'refused' | 'accepted' = 'refused',
): Tamper {
  return (genuine, random) => {
    const text = edit(putTogether(genuine, genuine.format), random);
    return text === null ? null : tampered(text, expect);
  };
}

function jsonRow(edit: (line: string, random: SeededRandom) => string): Tamper {
  return oneRow('jsonl', edit);
}

function csvRow(edit: (record: string, random: SeededRandom) => string): Tamper {
  return oneRow('csv', edit);
}

/** Spells one row in another way and leaves every other byte as it was. A JSON line comes without its line feed. */
function oneRow(format: ExportFormat, edit: (text: string, random: SeededRandom) => string): Tamper {
  return (genuine, random) => {
    if (genuine.format !== format) return null;
    const encoder = EXPORT_ENCODERS[format];
    const at = random.between(0, genuine.rows.length - 1);
    const records = genuine.rows.map((row, index) => {
      if (index !== at) return encoder.rows([row]);
      return format === 'csv' ? edit(encoder.rows([row]), random) : `${edit(toJsonLine(row), random)}\n`;
    });
    const text = encoder.head + records.join('') + encoder.end(genuine.end);
    return text === putTogether(genuine, format) ? null : tampered(text, 'refused');
  };
}

/** `"name":"value"` of each member. */
function membersOf(line: string): string[] {
  return Object.entries(JSON.parse(line) as object).map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
}
