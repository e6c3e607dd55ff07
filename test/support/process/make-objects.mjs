/**
 * Lets a test see where V8 makes new objects. Loaded into the process before the program. For each line on standard input one line of code
 * first makes objects that live long, over and over, and then as many that do not. It answers `{"objects": …, "bornOld": …}`: how many
 * of the latter were looked at, and how many of them were in the old generation from the start.
 */
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { answerLine } from './answer-line.mjs';

const LONG_LIVED = 800_000;
const ROUNDS = 5;
const LOOKED_AT_EVERY = 1_000;

setFlagsFromString('--allow-natives-syntax');
const isYoung = runInNewContext('(object) => %InYoungGeneration(object)');
// It is compiled by its first call.
isYoung({});
setFlagsFromString('--no-allow-natives-syntax');

const makeOne = (number) => [number, number + 1, number + 2, number + 3];

async function makeObjects() {
  const kept = Array.from({ length: LONG_LIVED }, () => null);
  let bornOld = 0;
  let objects = 0;
  for (let index = 0; index < 2 * ROUNDS * LONG_LIVED; index += 1) {
    const made = makeOne(index);
    if (index < ROUNDS * LONG_LIVED) kept[index % LONG_LIVED] = made;
    else if (index % LOOKED_AT_EVERY === 0) {
      objects += 1;
      if (!isYoung(made)) bornOld += 1;
    }
    if (index % (2 * LOOKED_AT_EVERY) === 0) await setImmediate();
  }
  return { objects, bornOld, kept: kept.length };
}

answerLine(makeObjects);
