/**
 * Lets a test kill a service at every step of its work. Loaded into the process before the service:
 *
 *   node --import ./test/support/process/stop-at-steps.mjs .coffer-test-build/bundle-…/main.js     with COFFER_TEST_STEPS=<file>
 *
 * What the world knows of a process is what it wrote to its sockets and files. Between two writes it may compute and
 * wait as it likes: killed anywhere there, it leaves the same state. So a step is one write: statements to
 * Postgres, a request to Stripe, an answer to a webhook; of a file, that it is there and empty, and that it is written.
 * Nothing is listed by hand, and what a later version adds is a step too.
 *
 * At the first step that was not tried before, the work stops: the write goes out, its answer never comes in, nothing
 * more is written there. Should the work go on elsewhere (a job begins when its row is committed), the process
 * kills itself with -9 before that write. Otherwise it says `stopped`, and the test may stop further work at further
 * steps before it kills them all.
 *
 * Lines on standard input are the commands: `go` lets the service start (its code is loaded by then), `try` and a
 * JSON list of the steps that were tried begins a piece of work, as `stop at` and one step does, `die` ends the process, as `die at once` does
 * before the next step. The steps are in the file by then.
 */
import { Buffer } from 'node:buffer';
import { appendFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { clearInterval, setInterval, setTimeout } from 'node:timers';
import { fileURLToPath, pathToFileURL, URL } from 'node:url';
import { stepName } from './step-name.mjs';

/** What was written has arrived within this time. Work that goes on elsewhere later is a step of what follows. */
const GOES_ON_WITHIN_MS = 60;

const stepsFile = process.env.COFFER_TEST_STEPS;
const { _write: write, _writev: writev } = Socket.prototype;
const stopped = new WeakSet();

/** `idle` lets everything pass, `trying` looks for a new step, `stopping` has found one, `halted` lets nothing pass. */
let state = 'idle';
let tried = new Set();
/** The one step to stop at; null: any that was not tried. */
let target = null;
let timesSeen = new Map();

const isTried = (step) => (target === null ? tried.has(step) : step !== target);
const die = () => process.kill(process.pid, 'SIGKILL');
const never = () => new Promise(() => undefined);
const found = (step) => {
  note(step);
  state = target === null ? 'stopping' : 'halted';
};
const note = (step) => appendFileSync(stepsFile, `${step}\n`);

/** What the process prints, and the commands that it reads, are pipes. */
const isOutside = (socket) => socket.remoteAddress !== undefined || socket.connecting;

function pass(socket, bytes, forward, callback) {
  if (stopped.has(socket)) return callback();
  if (state === 'idle' || !isOutside(socket)) return forward();
  if (state === 'halted') return;
  if (state === 'stopping') return die();
  if (state === 'dying') {
    note('before anything');
    return die();
  }
  const step = nameOf(bytes);
  forward();
  if (isTried(step)) return;
  found(step);
  // What is written before the connection is open is sent by a listener of its own, registered just now.
  if (socket.connecting) socket.once('connect', () => stop(socket));
  else stop(socket);
}

/** The second time that one payment writes the same is another step. */
function nameOf(bytes) {
  return numbered(stepName(bytes));
}

function numbered(name) {
  const times = (timesSeen.get(name) ?? 0) + 1;
  timesSeen.set(name, times);
  return times === 1 ? name : `${name} (${times})`;
}

function stop(socket) {
  stopped.add(socket);
  socket.push = () => true;
  sayStopped();
}

function sayStopped() {
  setTimeout(() => {
    if (state === 'stopping') state = 'idle';
    process.stdout.write('stopped\n');
  }, GOES_ON_WITHIN_MS);
}

Socket.prototype._write = function (chunk, encoding, callback) {
  const forward = () => write.call(this, chunk, encoding, callback);
  pass(this, Buffer.from(chunk, encoding), forward, callback);
};
Socket.prototype._writev = function (chunks, callback) {
  const bytes = Buffer.concat(chunks.map(({ chunk, encoding }) => Buffer.from(chunk, encoding)));
  pass(this, bytes, () => writev.call(this, chunks, callback), callback);
};

const handle = await open(fileURLToPath(import.meta.url));
const fileHandle = Object.getPrototypeOf(handle);
await handle.close();
const { writeFile } = fileHandle;
fileHandle.writeFile = async function (...args) {
  await passFile('file made');
  await writeFile.apply(this, args);
  await passFile('file written');
};

/** Never resolves at a new step: what the work would do next never happens. */
async function passFile(name) {
  if (state === 'idle') return;
  if (state === 'halted') return never();
  if (state !== 'trying') {
    if (state === 'dying') note('before anything');
    die();
  }
  const step = numbered(name);
  if (isTried(step)) return;
  found(step);
  sayStopped();
  await never();
}

let go = () => undefined;
const allowed = new Promise((resolve) => (go = resolve));

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'go') go();
  else if (line === 'die') die();
  else if (line === 'die at once') state = 'dying';
  else {
    if (line.startsWith('stop at ')) target = line.slice('stop at '.length);
    else tried = new Set(JSON.parse(line.replace(/^try /, '')));
    timesSeen = new Map();
    state = 'trying';
  }
  process.stdout.write('heard\n');
});

// Next to the service itself.
await import(new URL('bootstrap/app.setup.js', pathToFileURL(process.argv[1])).href);
process.stdout.write('standing by\n');
// Waiting alone does not keep a process alive.
const awake = setInterval(() => undefined, 60_000);
await allowed;
clearInterval(awake);
