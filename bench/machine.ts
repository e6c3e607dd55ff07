import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What the machine gives at the moment, beside its cores: on a shared host this changes from minute to minute, and with it
 * what everything here costs. A call touches some megabytes of code and rows; what of that no cache keeps is read
 * from memory, whatever the clock rate.
 */
export type MachineState = {
  /** One read that depends on the read before it, at random places of so many bytes. */
  readonly readNs: Readonly<Record<(typeof READ_MEGABYTES)[number], number>>;
  /** Of a page of 4 kB that the process did not have before. */
  readonly firstTouchUs: number;
  /** A new file of 12 kB, written and closed. */
  readonly fileUs: number;
};

const READ_MEGABYTES = [1, 4, 32] as const;
const READS = 400_000;
const LINE_BYTES = 64;
const WORD_BYTES = 4;
const PAGE_BYTES = 4_096;
const TOUCHED_BYTES = 64 * 1_048_576;
const FILES = 100;
const FILE_BYTES = 12_288;

export async function lookAtMachine(dir: string): Promise<MachineState> {
  const [small, medium, large] = READ_MEGABYTES;
  return {
    readNs: {
      [small]: readNs(small),
      [medium]: readNs(medium),
      [large]: readNs(large),
    },
    firstTouchUs: firstTouchUs(),
    fileUs: await fileUs(join(dir, 'machine')),
  };
}

export function describeMachine({ readNs: reads, firstTouchUs: touch, fileUs: file }: MachineState): string {
  const inside = READ_MEGABYTES.map((megabytes) => `${reads[megabytes].toFixed(0)} ns in ${megabytes} MB`);
  return `machine: a random read ${inside.join(', ')}; a page's first touch ${touch.toFixed(1)} µs; a new file ${file.toFixed(0)} µs`;
}

/** One cycle through all lines, in random order (Sattolo's shuffle), so that nothing can be fetched ahead. */
function readNs(megabytes: number): number {
  const lines = (megabytes * 1_048_576) / LINE_BYTES;
  const order = Uint32Array.from({ length: lines }, (_, index) => index);
  for (let index = lines - 1; index > 0; index -= 1) {
    const other = Math.floor(Math.random() * index);
    const kept = order[index] as number;
    order[index] = order[other] as number;
    order[other] = kept;
  }
  const next = new Uint32Array(lines * (LINE_BYTES / WORD_BYTES));
  const place = (index: number): number => (order[index % lines] as number) * (LINE_BYTES / WORD_BYTES);
  for (let index = 0; index < lines; index += 1) next[place(index)] = place(index + 1);
  const follow = (reads: number, from: number): number => {
    let at = from;
    for (let read = 0; read < reads; read += 1) at = next[at] as number;
    return at;
  };
  const warm = follow(lines, 0);
  const startedAt = performance.now();
  const end = follow(READS, warm);
  const elapsedMs = performance.now() - startedAt;
  if (end < 0) throw new Error('the reads were optimized away');
  return (elapsedMs * 1e6) / READS;
}

function firstTouchUs(): number {
  const bytes = new Uint8Array(TOUCHED_BYTES);
  const startedAt = performance.now();
  for (let at = 0; at < TOUCHED_BYTES; at += PAGE_BYTES) bytes[at] = 1;
  return ((performance.now() - startedAt) * 1e3) / (TOUCHED_BYTES / PAGE_BYTES);
}

async function fileUs(dir: string): Promise<number> {
  const content = Buffer.alloc(FILE_BYTES, 1);
  await mkdir(dir, { recursive: true });
  const startedAt = performance.now();
  for (let index = 0; index < FILES; index += 1) {
    const file = await open(join(dir, `${index}`), 'w');
    await file.writeFile(content);
    await file.close();
  }
  const elapsedMs = performance.now() - startedAt;
  await rm(dir, { recursive: true });
  return (elapsedMs * 1e3) / FILES;
}
