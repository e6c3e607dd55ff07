import sharp from 'sharp';

const SIDE = 1_024;
const CHANNELS = 3;
/** Squares of neighbouring values, from the whole scene down to texture, and how far each moves a pixel's brightness. */
const OCTAVES = [
  { step: 256, amplitude: 60 },
  { step: 64, amplitude: 34 },
  { step: 16, amplitude: 16 },
  { step: 4, amplitude: 7 },
] as const;
/** What a sensor adds to every pixel: most of what a PNG of a photograph consists of. */
const GRAIN = 3;
const JPEG_QUALITY = 95;

/**
 * A picture that compresses as a photograph does: a PNG of about 1.5 MB and a JPEG of 160 to 300 kB. The same one every time,
 * so that runs can be compared.
 */
export async function takePhotograph(): Promise<{ readonly png: Buffer; readonly jpeg: Buffer }> {
  const image = sharp(drawPixels(), { raw: { width: SIDE, height: SIDE, channels: CHANNELS } });
  const [png, jpeg] = await Promise.all([
    image.clone().png({ compressionLevel: 6 }).toBuffer(),
    image.clone().jpeg({ quality: JPEG_QUALITY }).toBuffer(),
  ]);
  refuseSize('PNG', png.length, 1_300_000, 1_700_000);
  refuseSize('JPEG', jpeg.length, 160_000, 300_000);
  return { png, jpeg };
}

/** Another version of the encoders must not change what is measured without being noticed. */
function refuseSize(format: string, bytes: number, min: number, max: number): void {
  if (bytes < min || bytes > max) throw new Error(`the ${format} has ${bytes} bytes, not ${min} to ${max}`);
}

function drawPixels(): Buffer {
  const random = randomFrom(20_261_129);
  const grids = OCTAVES.map(({ step }) =>
    Float32Array.from({ length: (SIDE / step + 1) ** 2 }, () => random() - 0.5),
  );
  const pixels = Buffer.alloc(SIDE * SIDE * CHANNELS);
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      let brightness = 128;
      OCTAVES.forEach(({ step, amplitude }, octave) => {
        brightness +=
          2 * amplitude * between(grids[octave] as Float32Array, x / step, y / step, SIDE / step + 1);
      });
      const noise = (random() - 0.5) * 2 * GRAIN;
      const at = (y * SIDE + x) * CHANNELS;
      // A sensor's colours share most of their noise, for each pixel sees one colour and borrows the others.
      pixels[at] = clamp(brightness * 1.05 + noise);
      pixels[at + 1] = clamp(brightness + noise * 0.8 + random());
      pixels[at + 2] = clamp(brightness * 0.9 + noise * 1.1);
    }
  }
  return pixels;
}

/** Bilinear: no edges, which a photograph has few of. */
function between(grid: Float32Array, x: number, y: number, width: number): number {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, down] = [x - left, y - top];
  const at = (column: number, row: number): number => grid[row * width + column] ?? 0;
  const upper = at(left, top) * (1 - right) + at(left + 1, top) * right;
  const lower = at(left, top + 1) * (1 - right) + at(left + 1, top + 1) * right;
  return upper * (1 - down) + lower * down;
}

const clamp = (value: number): number => Math.max(0, Math.min(255, Math.round(value)));

/** Numbers from 0 to 1 that follow from a seed: a linear congruential generator modulo 2^32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
