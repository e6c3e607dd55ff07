import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import type { AccountBooks } from './books.js';
import { sha256, type SeenAnswer } from './clients.js';
import { inParallel } from './in-parallel.js';
import type { MixedPlan } from './plan.js';

const AT_ONCE = 16;

type Wanted = {
  /** As the media store names its file. */
  readonly file: string;
  readonly size: string;
  readonly bytes: number | null;
  /** What the client was given of it; null when no one heard. */
  readonly given: SeenAnswer['pictures'][number] | null;
};

/**
 * Every delivered image lies there as it was recorded, decodes to its last pixel in the size that was asked for, and is
 * what the client was given. `urlsOneIn`: how many of the given URLs are fetched as well.
 */
export async function inspectPictures(
  plan: MixedPlan,
  dataDir: string,
  all: readonly { readonly books: AccountBooks; readonly seen: ReadonlyMap<string, SeenAnswer> }[],
  urlsOneIn: number,
): Promise<{ faults: string[]; decoded: number; fetched: number }> {
  const faults: string[] = [];
  const sizes = new Map(plan.calls.map((call) => [call.name, call.size]));
  const wanted = all.flatMap(({ books, seen }) => wantedOf(books, seen, sizes));
  const root = path.join(dataDir, 'media');
  const names = (await readdir(root, { recursive: true }).catch((): string[] => [])).map(String);
  const files = new Map(names.map((name) => [path.basename(name), path.join(root, name)]));
  let fetched = 0;
  await inParallel([...wanted.entries()], AT_ONCE, async ([index, picture]) => {
    const { file, bytes, given } = picture;
    const place = files.get(file);
    if (place === undefined) return void faults.push(`${file} is not stored`);
    const stored = await readFile(place);
    if (stored.length !== bytes) faults.push(`${file} has ${stored.length} bytes, not ${bytes}`);
    const size = await decodedSize(stored);
    if (size !== picture.size) faults.push(`${file} is ${size}, not ${picture.size}`);
    if (given === null) return;
    if ('sha256' in given) {
      if (given.sha256 !== sha256(stored)) faults.push(`${file} is not what was answered`);
    } else if (index % urlsOneIn === 0) {
      fetched += 1;
      const answer = await fetch(given.url);
      const body = Buffer.from(await answer.arrayBuffer());
      if (answer.status !== 200 || !body.equals(stored)) faults.push(`${given.url} answers ${answer.status}`);
    }
  });
  return { faults, decoded: wanted.length, fetched };
}

function wantedOf(
  books: AccountBooks,
  seen: ReadonlyMap<string, SeenAnswer>,
  sizes: ReadonlyMap<string, string>,
): Wanted[] {
  const rows = new Map(books.generations.map((row) => [row.id, row]));
  const nth = new Map<string, number>();
  return books.tasks
    .filter(({ status }) => status === 'delivered')
    .sort((a, b) => a.position - b.position)
    .map(({ generationId, position, bytes }) => {
      const row = rows.get(generationId);
      const place = nth.get(generationId) ?? 0;
      nth.set(generationId, place + 1);
      return {
        file: `${generationId}-${position}.${row?.format}`,
        size: sizes.get(row?.name ?? '') ?? 'unknown',
        bytes,
        given: seen.get(generationId)?.pictures[place] ?? null,
      };
    });
}

/** `sharp` stops at the first fault of a file only when a test asks for it. */
async function decodedSize(bytes: Buffer): Promise<string> {
  try {
    const { info } = await sharp(bytes, { failOn: 'warning' }).raw().toBuffer({ resolveWithObject: true });
    return `${info.width}x${info.height}`;
  } catch (error) {
    return `no image (${String(error)})`;
  }
}
