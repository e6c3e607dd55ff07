import sharp, { type Sharp } from 'sharp';
import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphOf, toFontText } from './bitmap-font.js';
import { THUMBNAIL_SIDE } from './input-image.js';
import type { OutputFormat } from './submit-parameters.js';

export type PictureRequest = {
  readonly prompt: string;
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly outputFormat: OutputFormat;
  /** Of the reference images: squares of `THUMBNAIL_SIDE`, RGB. */
  readonly thumbnails: readonly Buffer[];
};

/** So that a test, and a person, finds each where it belongs: the first in the lower left corner, then rightwards. */
const THUMBNAILS_A_ROW = 4;

type Colour = readonly [red: number, green: number, blue: number];

/** Dark enough that white text is read on all of them. */
const PALETTES: readonly (readonly [top: Colour, bottom: Colour])[] = [
  [
    [49, 46, 129],
    [14, 116, 144],
  ],
  [
    [88, 28, 135],
    [190, 24, 93],
  ],
  [
    [20, 83, 45],
    [13, 110, 110],
  ],
  [
    [124, 45, 18],
    [146, 64, 14],
  ],
  [
    [30, 41, 59],
    [51, 65, 85],
  ],
  [
    [7, 89, 133],
    [67, 56, 202],
  ],
  [
    [112, 26, 117],
    [67, 56, 202],
  ],
  [
    [6, 78, 59],
    [63, 98, 18],
  ],
];
const WHITE: Colour = [255, 255, 255];

/** Pictures that differ in this only are the same picture. */
export function paletteOf(seed: number): number {
  return Math.abs(seed) % PALETTES.length;
}

const CHANNELS = 3;
const TITLE = 'SANDBOX';
/** A glyph and the gap after it, a line and the gap below it, in font pixels. */
const ADVANCE = GLYPH_WIDTH + 1;
const LINE = GLYPH_HEIGHT + 2;
const PROMPT_SHOWN_MAX = 2_000;
/** Level 3 without filtering: a tenth of the time of the default, and the pictures stay near 20 kB. */
const ENCODERS: Readonly<Record<OutputFormat, (image: Sharp) => Sharp>> = {
  jpeg: (image) => image.jpeg({ quality: 85 }),
  png: (image) => image.png({ compressionLevel: 3, adaptiveFiltering: false }),
  webp: (image) => image.webp({ quality: 85, effort: 1 }),
};

/** A picture of exactly the asked size that says SANDBOX and shows the prompt. The same for equal requests. */
export async function drawPicture(request: PictureRequest): Promise<Buffer> {
  const { width, height } = request;
  const canvas = new Canvas(width, height);
  canvas.fillGradient(...(PALETTES[paletteOf(request.seed)] ?? [WHITE, WHITE]));
  const margin = Math.max(2, Math.floor(Math.min(width, height) / 16));
  const titleScale = Math.max(1, Math.floor((width - 2 * margin) / (TITLE.length * ADVANCE)));
  const boundedScale = Math.min(titleScale, Math.max(1, Math.floor(height / (4 * LINE))));
  canvas.write(TITLE, margin, margin, boundedScale);
  const top = margin + boundedScale * LINE + Math.floor(margin / 2);
  const shown = cut(toFontText(request.prompt), PROMPT_SHOWN_MAX);
  canvas.writeParagraph(shown, margin, top, boundedScale);
  const side = Math.floor(Math.min(width, height) / THUMBNAILS_A_ROW);
  for (const [index, thumbnail] of request.thumbnails.entries()) {
    canvas.place(thumbnail, index * side, height - side, side);
  }
  const image = sharp(canvas.pixels, { raw: { width, height, channels: CHANNELS } });
  return ENCODERS[request.outputFormat](image).toBuffer();
}

class Canvas {
  readonly pixels: Buffer;

  constructor(
    private readonly width: number,
    private readonly height: number,
  ) {
    this.pixels = Buffer.alloc(width * height * CHANNELS);
  }

  fillGradient(top: Colour, bottom: Colour): void {
    const rowBytes = this.width * CHANNELS;
    for (let y = 0; y < this.height; y += 1) {
      const share = y / Math.max(1, this.height - 1);
      const colour = top.map((from, index) => Math.round(from + ((bottom[index] ?? from) - from) * share));
      this.pixels.fill(Buffer.from(colour), y * rowBytes, (y + 1) * rowBytes);
    }
  }

  /** One line of text whose top left corner is at (`left`, `top`); a font pixel is `scale` pixels wide. */
  write(text: string, left: number, top: number, scale: number): void {
    for (const [index, character] of Array.from(text).entries()) {
      for (const [column, bits] of glyphOf(character).entries()) {
        for (let row = 0; row < GLYPH_HEIGHT; row += 1) {
          if ((bits & (1 << row)) === 0) continue;
          this.square(left + (index * ADVANCE + column) * scale, top + row * scale, scale);
        }
      }
    }
  }

  /** Fills the rest of the picture with as large letters as fit; what does not fit even small is cut. */
  writeParagraph(text: string, left: number, top: number, scaleMax: number): void {
    const fits = (scale: number): readonly string[] | null => {
      const lines = wrap(text, Math.max(1, Math.floor((this.width - 2 * left) / (ADVANCE * scale))));
      return lines.length * LINE * scale <= this.height - top - left ? lines : null;
    };
    let scale = Math.max(1, Math.floor(scaleMax * 0.6));
    while (scale > 1 && fits(scale) === null) scale -= 1;
    const lines = wrap(text, Math.max(1, Math.floor((this.width - 2 * left) / (ADVANCE * scale))));
    const shown = Math.max(0, Math.floor((this.height - top) / (LINE * scale)));
    for (const [index, line] of lines.slice(0, shown).entries()) {
      const isCut = index === shown - 1 && lines.length > shown;
      this.write(isCut ? `${line.slice(0, -3)}...` : line, left, top + index * LINE * scale, scale);
    }
  }

  /** Nearest neighbour: it is to be recognised, not to please. */
  place(thumbnail: Buffer, left: number, top: number, side: number): void {
    const source = (at: number): number => Math.floor((at * THUMBNAIL_SIDE) / side);
    for (let y = 0; y < side; y += 1) {
      for (let x = 0; x < side; x += 1) {
        const from = (source(y) * THUMBNAIL_SIDE + source(x)) * CHANNELS;
        thumbnail.copy(this.pixels, ((top + y) * this.width + left + x) * CHANNELS, from, from + CHANNELS);
      }
    }
  }

  private square(left: number, top: number, side: number): void {
    const right = Math.min(left + side, this.width);
    for (let y = top; y < Math.min(top + side, this.height); y += 1) {
      if (left < right)
        this.pixels.fill(0xff, (y * this.width + left) * CHANNELS, (y * this.width + right) * CHANNELS);
    }
  }
}

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 3)}...`;
}

/** Breaks at spaces, and inside a word only when the word is longer than a line. */
function wrap(text: string, lineLength: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    let rest = word;
    if (line !== '' && line.length + 1 + rest.length > lineLength) {
      lines.push(line);
      line = '';
    }
    while (rest.length > lineLength) {
      lines.push(rest.slice(0, lineLength));
      rest = rest.slice(lineLength);
    }
    line = line === '' ? rest : `${line} ${rest}`;
  }
  return line === '' ? lines : [...lines, line];
}
