/**
 * Lets a test see how far the heap of a process grows over what it uses. Loaded into the process before the program. For each line on
 * standard input it replaces objects that live long enough to leave the young generation, many times over, and answers
 * `{"usedBytes": …, "highestBytes": …}`: what the old generation held in use and what it held at most, garbage included.
 */
import { setImmediate } from 'node:timers/promises';
import { getHeapSpaceStatistics } from 'node:v8';
import { answerLine } from './answer-line.mjs';

const OBJECTS = 20_000;
const NUMBERS = 400;
/** Doubles. */
const OBJECT_BYTES = NUMBERS * 8;
const ROUNDS = 20;

const oldBytes = () =>
  getHeapSpaceStatistics()
    .filter(({ space_name: name }) => name === 'old_space')
    .reduce((sum, { space_used_size: bytes }) => sum + bytes, 0);

async function churn() {
  const usedBytes = oldBytes() + OBJECTS * OBJECT_BYTES;
  const objects = Array.from({ length: OBJECTS }, () => null);
  let highestBytes = 0;
  for (let index = 0; index < OBJECTS * ROUNDS; index += 1) {
    objects[index % OBJECTS] = Array.from({ length: NUMBERS }, (_, number) => number + 0.5);
    if (index % 200 === 0) highestBytes = Math.max(highestBytes, oldBytes());
    if (index % 2_000 === 0) await setImmediate();
  }
  return { usedBytes, highestBytes };
}

answerLine(churn);
