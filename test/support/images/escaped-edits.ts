import { noise } from './edit-bodies.js';

type Spelling = {
  readonly name: string;
  readonly spell: (base64: string) => string;
  /** How many times as long it makes the text. */
  readonly factor: number;
};

const inLines = (length: number, end: string) => (base64: string) =>
  base64.replace(new RegExp(`.{${length}}`, 'g'), `$&${end}`);

/** Base64 as serializers write it in JSON, and as no one does: of noise, each letter is one in 64. */
const SPELLINGS: readonly Spelling[] = [
  { name: 'the slashes of PHP', spell: (text) => text.replaceAll('/', '\\/'), factor: 65 / 64 },
  { name: 'the plus signs of .NET', spell: (text) => text.replaceAll('+', '\\u002B'), factor: 69 / 64 },
  { name: 'slashes by their number', spell: (text) => text.replaceAll('/', '\\u002f'), factor: 69 / 64 },
  {
    name: 'plus signs and slashes by their number',
    spell: (text) => text.replaceAll('+', '\\u002B').replaceAll('/', '\\u002F'),
    factor: 74 / 64,
  },
  { name: 'line feeds', spell: inLines(76, '\\n'), factor: 78 / 76 },
  { name: 'line ends of mail', spell: inLines(76, '\\r\\n'), factor: 80 / 76 },
  { name: 'a tab in each line', spell: inLines(64, '\\t'), factor: 66 / 64 },
  { name: 'a blank in each line', spell: inLines(64, ' '), factor: 65 / 64 },
  { name: 'a blank in each chunk', spell: inLines(20_000, ' '), factor: 1.001 },
  { name: 'a letter of two bytes in each chunk', spell: inLines(20_000, 'ü'), factor: 1.001 },
];

/**
 * The images of edits whose JSON is as long as `bytes`, by how their base64 is spelled: two PNGs, both whole, or the second one
 * damaged in its last pixels, or not spelled so.
 */
export async function escapedEdits(bytes: number): Promise<ReadonlyMap<string, readonly string[]>> {
  const edits = new Map<string, readonly string[]>();
  for (const { name, spell, factor } of SPELLINGS) {
    // Three bytes a pixel, of which base64 makes four.
    const side = Math.floor(Math.sqrt(bytes / factor / 8)) - 2;
    const whole = await noise(side, side).png({ compressionLevel: 0 }).toBuffer();
    const damaged = Buffer.from(whole);
    damaged.fill(0, damaged.length - 100, damaged.length - 90);
    const [one, other] = [whole, damaged].map((png) => spell(png.toString('base64'))) as [string, string];
    edits.set(name, [one, one]);
    edits.set(`${name}, damaged at the end`, [one, other]);
    edits.set(`${name}, in one of them`, [one, whole.toString('base64')]);
  }
  return edits;
}
