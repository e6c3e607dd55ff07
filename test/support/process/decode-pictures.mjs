/**
 * A program for a test: decodes pictures as the service does with references of edits, and prints how much more memory the process
 * holds afterwards: `{"leftMiB": …}`. All of its own is freed by then.
 */
import { setFlagsFromString } from 'node:v8';
import sharp from 'sharp';

const SIDE = 4_000;
const TIMES = 4;

sharp.concurrency(1);
sharp.cache(false);

const create = { width: SIDE, height: SIDE, channels: 4, background: '#7a58' };
const picture = () => sharp({ create });
const pictures = [
  await picture().png().toBuffer(),
  await picture().png({ progressive: true }).toBuffer(),
  await picture().withMetadata({ orientation: 6 }).png().toBuffer(),
  await picture().jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer(),
  await picture().webp().toBuffer(),
];

async function decode(bytes, side) {
  await sharp(bytes, { failOn: 'error', sequentialRead: true })
    .autoOrient()
    .resize(side, side, { fit: 'fill' })
    .flatten({ background: '#fff' })
    .jpeg({ quality: 95 })
    .toBuffer();
}

setFlagsFromString('--expose-gc');
const { runInNewContext } = await import('node:vm');
const gc = runInNewContext('gc');
const heldMiB = () => {
  gc();
  return process.memoryUsage.rss() / 1_048_576;
};

const before = heldMiB();
for (let time = 0; time < TIMES; time += 1) {
  await Promise.all(pictures.flatMap((bytes) => [decode(bytes, 1_024), decode(bytes, 2_024)]));
}
process.stdout.write(JSON.stringify({ leftMiB: heldMiB() - before }));
