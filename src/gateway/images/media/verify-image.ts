import type { OutputFormat } from '../providers/image-provider.js';
import { type ImageStructure, CUT_SHORT, damaged } from './image-structure.js';
import { readPng } from './png-structure.js';
import { readWebp } from './webp-structure.js';

export type ExpectedImage = {
  /** Null when any of the three formats is accepted. */
  readonly format: OutputFormat | null;
  readonly width: number;
  readonly height: number;
};

const PNG_SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

const READERS: Readonly<Record<OutputFormat, (image: Buffer) => ImageStructure>> = {
  png: readPng,
  jpeg: readJpeg,
  webp: readWebp,
};

/** The format of a complete image, or what is wrong with it. */
export type VerifiedImage =
  | { readonly fault: null; readonly format: OutputFormat }
  /** A description for the log. */
  | { readonly fault: string };

/**
 * Checks whether `image` is a complete image of that format and size. Pure.
 *
 * The image is not decoded, which would take fifty times as long: its structure is read to the end, and the checksums that its format
 * has are compared. `docs/adr/0023-images-are-verified-by-structure.md` says what this cannot find, and what decoding would cost.
 */
export function verifyImage(image: Buffer, { format: asked, width, height }: ExpectedImage): VerifiedImage {
  const format = detectFormat(image);
  if (format === null || (asked !== null && format !== asked)) {
    return { fault: `it is no ${asked ?? 'image of a known format'}` };
  }
  const structure = READERS[format](image);
  if (structure.fault !== null) return structure;
  const isSize = structure.width === width && structure.height === height;
  return isSize
    ? { fault: null, format }
    : { fault: `it is ${structure.width}x${structure.height}, not ${width}x${height}` };
}

/** This many bytes are enough to recognise the format. */
export const FORMAT_BYTES = 12;

/** Recognises the format by the first bytes; returns null for anything but the three formats. */
export function detectFormat(image: Buffer): OutputFormat | null {
  if (image.subarray(0, 8).equals(PNG_SIGNATURE)) return 'png';
  if (image[0] === 0xff && image[1] === 0xd8 && image[2] === 0xff) return 'jpeg';
  const isRiff = image.toString('latin1', 0, 4) === 'RIFF' && image.toString('latin1', 8, 12) === 'WEBP';
  return isRiff ? 'webp' : null;
}

const MARKER = {
  startOfImage: 0xd8,
  endOfImage: 0xd9,
  startOfScan: 0xda,
  quantisation: 0xdb,
  huffman: 0xc4,
  restartInterval: 0xdd,
  restartFirst: 0xd0,
  restartLast: 0xd7,
  baseline: 0xc0,
  extended: 0xc1,
  progressive: 0xc2,
  comment: 0xfe,
} as const;
const APP_FIRST = 0xe0;
const APP_LAST = 0xef;
/** After 0xff in coded data this means the byte 0xff itself. */
const STUFFED = 0x00;
/** Any number of these may come before a marker. */
const FILL = 0xff;

const SEGMENT_LENGTH_BYTES = 2;
const COMPONENT_COUNTS: readonly number[] = [1, 3, 4];
const SAMPLING_MAX = 4;
const BLOCK_SIDE = 8;
const COEFFICIENTS = 64;
/** The limit for a scan of several components. */
const BLOCKS_A_UNIT_MAX = 10;
const APPROXIMATION_MAX = 13;
const NOT_SENT = -1;

type Component = {
  readonly id: number;
  readonly across: number;
  readonly down: number;
  readonly quantisation: number;
  /** The last bit of each coefficient that was sent, as libjpeg counts: 0 means that all bits were sent. */
  readonly sentTo: Int8Array;
};

type Frame = {
  readonly width: number;
  readonly height: number;
  readonly isProgressive: boolean;
  readonly components: readonly Component[];
};

type Scan = {
  readonly components: readonly (Component & { readonly dc: number; readonly ac: number })[];
  readonly first: number;
  readonly last: number;
  /** The bit that was sent before (0 for none) and the one that is sent now. */
  readonly high: number;
  readonly low: number;
};

/**
 * Reads a JPEG from marker to marker to its end. In the coded data of each scan only restart markers are allowed, in order and in the
 * right number. JPEG has no checksums, so flipped bits inside the coded data are only found if they form a marker. Pure.
 *
 * @param jpeg a file that begins with the marker for the start of an image.
 */
export function readJpeg(jpeg: Buffer): ImageStructure {
  return new JpegWalk(jpeg).walk();
}

/** Each step returns what is wrong, or null. */
class JpegWalk {
  private at = 2;
  private frame: Frame | null = null;
  private restartInterval = 0;
  private readonly huffman: HuffmanTables = { dc: new Map(), ac: new Map() };
  private readonly quantisation = new Set<number>();

  constructor(private readonly jpeg: Buffer) {}

  walk(): ImageStructure {
    for (;;) {
      const marker = this.nextMarker();
      if (marker === null) return this.at >= this.jpeg.length ? CUT_SHORT : damaged('a marker is missing');
      if (marker === MARKER.endOfImage) return this.end();
      const segment = this.nextSegment();
      if (segment === null) return CUT_SHORT;
      const fault = this.read(marker, segment);
      if (fault !== null) return damaged(fault);
    }
  }

  private nextMarker(): number | null {
    if (this.jpeg[this.at] !== FILL) return null;
    while (this.jpeg[this.at] === FILL) this.at += 1;
    return this.jpeg[this.at++] ?? null;
  }

  private nextSegment(): Buffer | null {
    const { jpeg, at } = this;
    if (jpeg.length - at < SEGMENT_LENGTH_BYTES) return null;
    const length = jpeg.readUInt16BE(at);
    if (length < SEGMENT_LENGTH_BYTES || length > jpeg.length - at) return null;
    this.at = at + length;
    return jpeg.subarray(at + SEGMENT_LENGTH_BYTES, this.at);
  }

  private read(marker: number, segment: Buffer): string | null {
    switch (marker) {
      case MARKER.baseline:
      case MARKER.extended:
      case MARKER.progressive:
        return this.readFrame(segment, marker === MARKER.progressive);
      case MARKER.quantisation:
        return readQuantisationTables(segment, this.quantisation) ? null : 'a quantisation table is damaged';
      case MARKER.huffman:
        return readHuffmanTables(segment, this.huffman) ? null : 'a Huffman table is damaged';
      case MARKER.restartInterval:
        if (segment.length !== 2) return 'its restart interval is damaged';
        this.restartInterval = segment.readUInt16BE(0);
        return null;
      case MARKER.startOfScan:
        return this.readScan(segment);
      case MARKER.comment:
        return null;
      default:
        return marker >= APP_FIRST && marker <= APP_LAST ? null : `it has a marker 0x${marker.toString(16)}`;
    }
  }

  private readFrame(segment: Buffer, isProgressive: boolean): string | null {
    if (this.frame !== null) return 'it has two frames';
    if (segment.length < 6) return 'its frame is damaged';
    const [precision] = segment;
    const height = segment.readUInt16BE(1);
    const width = segment.readUInt16BE(3);
    const count = segment[5] ?? 0;
    if (precision !== 8 || width === 0 || height === 0) return 'its frame is damaged';
    if (!COMPONENT_COUNTS.includes(count) || segment.length !== 6 + 3 * count) return 'its frame is damaged';
    const components: Component[] = [];
    for (let at = 6; at < segment.length; at += 3) {
      const [id = 0, sampling = 0, quantisation = 0] = segment.subarray(at, at + 3);
      const [across, down] = [sampling >> 4, sampling & 0x0f];
      const isSampled = across >= 1 && across <= SAMPLING_MAX && down >= 1 && down <= SAMPLING_MAX;
      if (!isSampled || quantisation > 3 || components.some((other) => other.id === id)) {
        return 'its frame is damaged';
      }
      components.push({ id, across, down, quantisation, sentTo: new Int8Array(COEFFICIENTS).fill(NOT_SENT) });
    }
    this.frame = { width, height, isProgressive, components };
    return null;
  }

  private readScan(segment: Buffer): string | null {
    const { frame } = this;
    if (frame === null) return 'a scan comes before the frame';
    const scan = toScan(segment, frame);
    if (scan === null) return 'the header of a scan is damaged';
    const fault = this.findMissingTable(scan) ?? this.addSent(scan, frame);
    return fault ?? this.readCodedData(scan, frame);
  }

  private findMissingTable({ components, first, last, high }: Scan): string | null {
    for (const { dc, ac, quantisation } of components) {
      if (!this.quantisation.has(quantisation)) return 'a quantisation table is missing';
      if (first === 0 && high === 0 && !this.huffman.dc.has(dc)) return 'a Huffman table is missing';
      if (last > 0 && !this.huffman.ac.has(ac)) return 'a Huffman table is missing';
    }
    return null;
  }

  /** Each bit of each coefficient must be sent once, and higher bits before lower ones. */
  private addSent({ components, first, last, high, low }: Scan, { isProgressive }: Frame): string | null {
    for (const { sentTo } of components) {
      if (isProgressive && first > 0 && sentTo[0] === NOT_SENT) return 'its scans are in the wrong order';
      for (let index = first; index <= last; index += 1) {
        const before = sentTo[index] === NOT_SENT ? 0 : (sentTo[index] ?? 0);
        if (high !== before || sentTo[index] === 0) return 'its scans are in the wrong order';
        sentTo[index] = low;
      }
    }
    return null;
  }

  private readCodedData(scan: Scan, frame: Frame): string | null {
    const { units, unitBitsMin } = this.measure(scan, frame);
    const interval = this.restartInterval === 0 ? units : Math.min(this.restartInterval, units);
    const { jpeg } = this;
    let begin = this.at;
    let unitsLeft = units;
    let restarts = 0;
    const isLongEnough = (end: number): boolean =>
      8 * (end - begin) >= unitBitsMin * Math.min(interval, unitsLeft);
    for (let at = jpeg.indexOf(FILL, begin); at !== -1; at = jpeg.indexOf(FILL, at)) {
      const end = at;
      while (jpeg[at] === FILL) at += 1;
      const marker = jpeg[at];
      if (marker === undefined) break;
      if (marker === STUFFED) {
        at += 1;
        continue;
      }
      if (!isLongEnough(end)) return 'its coded data is too short for its pixels';
      unitsLeft -= interval;
      if (marker < MARKER.restartFirst || marker > MARKER.restartLast) {
        if (unitsLeft > 0) return 'a restart is missing';
        this.at = end;
        return null;
      }
      if (unitsLeft <= 0 || marker !== MARKER.restartFirst + (restarts % 8))
        return 'a restart is out of order';
      restarts += 1;
      begin = at + 1;
      at = begin;
    }
    this.at = jpeg.length;
    return 'it is cut short';
  }

  /** Returns how many units the scan has, and how many bits the shortest possible unit needs. */
  private measure(
    { components, first, last, high }: Scan,
    { width, height, components: all }: Frame,
  ): { readonly units: number; readonly unitBitsMin: number } {
    const acrossMax = Math.max(...all.map(({ across }) => across));
    const downMax = Math.max(...all.map(({ down }) => down));
    const units = (across: number, down: number): number =>
      Math.ceil(Math.ceil((width * across) / acrossMax) / BLOCK_SIDE) *
      Math.ceil(Math.ceil((height * down) / downMax) / BLOCK_SIDE);
    // A refinement needs one bit. In a scan without the first coefficient, one code may end many blocks.
    const blockBitsMin = ({ dc, ac }: { readonly dc: number; readonly ac: number }): number => {
      if (first > 0) return 0;
      const dcBits = high > 0 ? 1 : (this.huffman.dc.get(dc) ?? 1);
      return dcBits + (last > 0 ? (this.huffman.ac.get(ac) ?? 1) : 0);
    };
    const [only] = components;
    if (components.length === 1 && only !== undefined) {
      return { units: units(only.across, only.down), unitBitsMin: blockBitsMin(only) };
    }
    const unitBitsMin = components.reduce(
      (bits, component) => bits + component.across * component.down * blockBitsMin(component),
      0,
    );
    return { units: unitsTogether(width, height, acrossMax, downMax), unitBitsMin };
  }

  private end(): ImageStructure {
    if (this.frame === null) return damaged('it has no frame');
    const { width, height, components } = this.frame;
    const isComplete = components.every(({ sentTo }) => sentTo.every((low) => low === 0));
    if (!isComplete) return damaged('a scan is missing');
    return this.at < this.jpeg.length ? damaged('bytes follow its end') : { fault: null, width, height };
  }
}

function unitsTogether(width: number, height: number, acrossMax: number, downMax: number): number {
  return Math.ceil(width / (BLOCK_SIDE * acrossMax)) * Math.ceil(height / (BLOCK_SIDE * downMax));
}

/** Returns null when no scan can have such a header. */
function toScan(segment: Buffer, { components: known, isProgressive }: Frame): Scan | null {
  const count = segment[0] ?? 0;
  if (count < 1 || count > known.length || segment.length !== 1 + 2 * count + 3) return null;
  const components: Scan['components'][number][] = [];
  for (let at = 1; at <= 2 * count; at += 2) {
    const found = known.find(({ id }) => id === segment[at]);
    const tables = segment[at + 1] ?? 0;
    if (found === undefined || components.some(({ id }) => id === found.id)) return null;
    components.push({ ...found, dc: tables >> 4, ac: tables & 0x0f });
  }
  const [first = 0, last = 0, approximation = 0] = segment.subarray(1 + 2 * count);
  const [high, low] = [approximation >> 4, approximation & 0x0f];
  const blocks = components.reduce((sum, { across, down }) => sum + across * down, 0);
  if (count > 1 && blocks > BLOCKS_A_UNIT_MAX) return null;
  const isLegal = isProgressive
    ? (first === 0 ? last === 0 : count === 1 && last >= first && last < COEFFICIENTS) &&
      low <= APPROXIMATION_MAX &&
      (high === 0 || low === high - 1)
    : first === 0 && last === COEFFICIENTS - 1 && approximation === 0;
  return isLegal ? { components, first, last, high, low } : null;
}

const TABLES_MAX = 4;
const CODE_BITS_MAX = 16;
/** A table begins with one byte for class and id, followed by the number of codes of each length. */
const HUFFMAN_HEADER_BYTES = 1 + CODE_BITS_MAX;
/** No picture contains a difference with more bits than this. */
const DC_SYMBOL_MAX = 15;

/** The number of bits of the shortest code, by the number of the table. */
export type HuffmanTables = { readonly dc: Map<number, number>; readonly ac: Map<number, number> };

/** Adds the tables of a segment. False when they are damaged. */
export function readQuantisationTables(segment: Buffer, known: Set<number>): boolean {
  let at = 0;
  while (at < segment.length) {
    const head = segment[at] ?? 0;
    const [bytes, id] = [(head >> 4) + 1, head & 0x0f];
    const end = at + 1 + COEFFICIENTS * bytes;
    if (bytes > 2 || id >= TABLES_MAX || end > segment.length) return false;
    for (let value = at + 1; value < end; value += bytes) {
      if (segment.readUIntBE(value, bytes) === 0) return false;
    }
    known.add(id);
    at = end;
  }
  return at > 0;
}

/** Adds the tables of a segment. False when they are damaged. */
export function readHuffmanTables(segment: Buffer, known: HuffmanTables): boolean {
  let at = 0;
  while (at < segment.length) {
    if (segment.length - at < HUFFMAN_HEADER_BYTES) return false;
    const head = segment[at] ?? 0;
    const [kind, id] = [head >> 4, head & 0x0f];
    if (kind > 1 || id >= TABLES_MAX) return false;
    const counts = segment.subarray(at + 1, at + HUFFMAN_HEADER_BYTES);
    const codes = counts.reduce((sum, count) => sum + count, 0);
    const symbols = segment.subarray(at + HUFFMAN_HEADER_BYTES, at + HUFFMAN_HEADER_BYTES + codes);
    if (codes === 0 || symbols.length < codes || new Set(symbols).size < codes) return false;
    if (kind === 0 && symbols.some((symbol) => symbol > DC_SYMBOL_MAX)) return false;
    if (!isPrefixCode(counts)) return false;
    (kind === 0 ? known.dc : known.ac).set(id, counts.findIndex((count) => count > 0) + 1);
    at += HUFFMAN_HEADER_BYTES + codes;
  }
  return at > 0;
}

/** Whether this many codes of each length can be distinguished. */
function isPrefixCode(counts: Buffer): boolean {
  let free = 1;
  for (const count of counts) {
    free = 2 * free - count;
    if (free < 0) return false;
  }
  return true;
}
