import { mkdtemp, open } from 'node:fs/promises';
import { join } from 'node:path';

const READ_MEGABYTES = [1, 4, 32] as const;
const READS_MIN = 400_000;
const LINE_BYTES = 64;
const WORD_BYTES = 4;
const PAGE_BYTES = 4_096;
const TOUCHED_BYTES = 64 * 1_048_576;
const FILES = 100;
const FILE_BYTES = 12_288;

/**
 * What the machine gives at the moment, beside its cores: on a shared host this changes from minute to minute, and with it
 * what everything here costs. A call touches some megabytes of code and rows; what of that no cache keeps is read
 * from memory, whatever the clock rate.
 *
 * @param dir files are made in it, and left there: looking for room among those that were just deleted is what makes new
 * ones dear.
 */
export async function describeMachine(dir: string): Promise<string> {
  const reads = READ_MEGABYTES.map((megabytes) => `${readNs(megabytes).toFixed(0)} ns in ${megabytes} MB`);
  const touch = firstTouchUs().toFixed(1);
  const file = (await fileUs(await mkdtemp(join(dir, 'machine-')))).toFixed(0);
  return `machine: a random read ${reads.join(', ')}; a page's first touch ${touch} µs; a new file ${file} µs`;
}

/** Of a read at a random place that the read before it names, so that nothing can be fetched ahead. */
function readNs(megabytes: number): number {
  const lines = (megabytes * 1_048_576) / LINE_BYTES;
  const words = LINE_BYTES / WORD_BYTES;
  const next = new Uint32Array(lines * words);
  for (let line = 0; line < lines; line += 1) next[line * words] = line * words;
  // Sattolo's shuffle: one cycle through all lines.
  for (let line = lines - 1; line > 0; line -= 1) {
    const other = Math.floor(Math.random() * line);
    const kept = next[line * words] as number;
    next[line * words] = next[other * words] as number;
    next[other * words] = kept;
  }
  const reads = Math.ceil(READS_MIN / lines) * lines;
  const goRound = (): void => {
    let at = 0;
    for (let read = 0; read < reads; read += 1) at = next[at] as number;
    if (at !== 0) throw new Error('the reads did not come round');
  };
  goRound();
  const startedAt = performance.now();
  goRound();
  return ((performance.now() - startedAt) * 1e6) / reads;
}

/** Of a page of 4 kB that the process did not have before. */
function firstTouchUs(): number {
  const bytes = new Uint8Array(TOUCHED_BYTES);
  const startedAt = performance.now();
  for (let at = 0; at < TOUCHED_BYTES; at += PAGE_BYTES) bytes[at] = 1;
  return ((performance.now() - startedAt) * 1e3) / (TOUCHED_BYTES / PAGE_BYTES);
}

/** Of a new file of 12 kB, written and closed. */
async function fileUs(dir: string): Promise<number> {
  const content = Buffer.alloc(FILE_BYTES, 1);
  const startedAt = performance.now();
  for (let index = 0; index < FILES; index += 1) {
    const file = await open(join(dir, `${index}`), 'w');
    await file.writeFile(content);
    await file.close();
  }
  return ((performance.now() - startedAt) * 1e3) / FILES;
}
