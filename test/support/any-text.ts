import fc from 'fast-check';

/**
 * What readers of files stumble over: byte order marks, what some languages and not others take for blank, what
 * quotes, divides and ends cells and lines, what a spreadsheet runs, and the borders of the planes of Unicode.
 */
const DELICATE = [
  ...'\uFEFF\uFEFF\uFFFE\uFFFF\u0001\u0008\u000B\u000C\u001C\u001D\u001E\u001F\u007F\u0085\u00A0\u1680\u180E',
  ...'\u2000\u200A\u200B\u200D\u2028\u2029\u202E\u202F\u205F\u2060\u3000\uD7FF\uE000\uFFFD',
  ...'"\',;\t\r\n \\/<{}[]:',
  ...'=+-@＝＋－＠\u2212\uFE63',
  ...'\u{10000}\u{1F3FB}\u{1FA99}\u{1FFFF}\u{20000}\u{2A6DF}\u{E0001}\u{F0000}\u{10FFFD}\u{10FFFF}',
];

/** Any text that PostgreSQL can store: every character of Unicode but U+0000, the delicate ones more often. */
export function anyText({ minLength = 0, maxLength = 40 } = {}): fc.Arbitrary<string> {
  const unit = fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...DELICATE) },
    { weight: 3, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
    { weight: 2, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }) },
  );
  return fc.array(unit, { minLength, maxLength }).map((units) => units.join('').replaceAll('\0', '\uFEFF'));
}
