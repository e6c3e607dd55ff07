import { beforeAll, describe, expect, it } from '@jest/globals';
import sharp from 'sharp';
import { findFault } from '../../src/generation/media/verify-image.js';

const SIZE = { width: 96, height: 64 };
const FORMATS = ['png', 'jpeg', 'webp'] as const;
type Format = (typeof FORMATS)[number];

/** Noise, so that no part of the file is redundant. */
async function picture(format: Format, { width, height } = SIZE): Promise<Buffer> {
  const pixels = Buffer.from(Array.from({ length: width * height * 3 }, (_, index) => (index * 7_919) % 251));
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

describe.each(FORMATS)('a delivered %s', (format) => {
  let whole: Buffer;
  beforeAll(async () => {
    whole = await picture(format);
  });

  it('is accepted when it is whole', async () => {
    expect(await findFault(whole, { format, ...SIZE })).toBeNull();
  });

  it('is refused wherever it was cut', async () => {
    const cuts = [
      0,
      1,
      8,
      12,
      20,
      100,
      whole.length >> 1,
      whole.length - 200,
      whole.length - 20,
      whole.length - 5,
    ];
    for (const length of cuts) {
      expect(await findFault(whole.subarray(0, length), { format, ...SIZE })).not.toBeNull();
    }
  });

  it.each([
    { width: 64, height: 96 },
    { width: 96, height: 63 },
    { width: 95, height: 64 },
    { width: 97, height: 64 },
    { width: 96, height: 65 },
    { width: 48, height: 128 },
    { width: 192, height: 32 },
    { width: 32, height: 32 },
    { width: 200, height: 200 },
  ])('is refused when $width x $height was asked for', async (size) => {
    expect(await findFault(whole, { format, ...size })).not.toBeNull();
  });

  it('is refused under the name of another format', async () => {
    for (const other of FORMATS.filter((candidate) => candidate !== format)) {
      expect(await findFault(whole, { format: other, ...SIZE })).not.toBeNull();
    }
  });

  it.each([
    ['nothing', ''],
    ['an error page', '<html><body>502 Bad Gateway</body></html>'],
    ['JSON', '{"detail":"expired"}'],
    ['an SVG', '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="64"/>'],
  ])('is refused when it is %s', async (_what, text) => {
    expect(await findFault(Buffer.from(text), { format, ...SIZE })).not.toBeNull();
  });
});

describe('a delivered image', () => {
  it('is refused when a PNG was damaged in any part of its pixels', async () => {
    const whole = await picture('png');
    for (let part = 1; part < 20; part += 1) {
      const damaged = Buffer.from(whole);
      const at = Math.floor((whole.length * part) / 20);
      damaged[at] = (damaged[at] ?? 0) ^ 0x5a;
      expect(await findFault(damaged, { format: 'png', ...SIZE })).not.toBeNull();
    }
  });

  it('is refused when it moves', async () => {
    const frame = (shade: number) => ({
      create: { width: 16, height: 16, channels: 3 as const, background: { r: shade, g: 0, b: 0 } },
    });
    const stills = await Promise.all([0, 255].map((shade) => sharp(frame(shade)).png().toBuffer()));
    const frames = await sharp(stills, { join: { animated: true } })
      .webp({ loop: 0 })
      .toBuffer();
    expect((await sharp(frames).metadata()).pages).toBe(2);
    expect(await findFault(frames, { format: 'webp', width: 16, height: 16 })).toMatch(/animation/);
  });

  it('never makes the decoder unpack more pixels than were asked for', async () => {
    const background = { r: 1, g: 2, b: 3 };
    const bomb = await sharp({ create: { width: 4_096, height: 4_096, channels: 3, background } })
      .png()
      .toBuffer();
    expect(await findFault(bomb, { format: 'png', width: 64, height: 64 })).toMatch(/pixel limit/i);
  });
});
