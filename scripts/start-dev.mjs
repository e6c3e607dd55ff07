/**
 * `npm run start:dev`: Nest compiles whatever is saved, and the service starts again after each compilation without
 * errors. Arguments are Node's (`--inspect`). The data directory stays, and with it the database, the keys and the ports.
 *
 * `nest start --watch` does nearly the same, but it signals every descendant of the service at once. The database
 * then goes down under a service that still needs it to stop, and the terminal fills with errors.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers';
import { fileURLToPath, URL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { resolve } = createRequire(import.meta.url);
const nest = resolve('@nestjs/cli/bin/nest.js');
/** A service that is not gone by then waits for a provider; the second signal ends it, as a crash would. */
const STOP_PATIENCE_MS = 10_000;

let service = null;
let restartWanted = false;
let ending = false;

// The simulators are compiled once: a change to them needs a new start.
spawnSync(process.execPath, [resolve('typescript/bin/tsc'), '-p', 'packages/sandbox/tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
const compiler = spawnNode([nest, 'build', '--watch', '--preserveWatchOutput'], 'pipe');
compiler.on('exit', (code) => {
  process.exitCode = code ?? 0; // Of a compiler that could not run; one that was stopped has none.
  end();
});
createInterface({ input: compiler.stdout }).on('line', (line) => {
  console.log(line);
  if (line.includes('Found 0 errors')) restart();
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, end);

function restart() {
  if (service === null) start();
  else if (!restartWanted) {
    restartWanted = true;
    stop(service);
  }
}

function start() {
  restartWanted = false;
  const started = spawnNode(['--enable-source-maps', ...process.argv.slice(2), 'dist/main.js'], 'inherit');
  service = started;
  started.on('exit', (code) => {
    service = null;
    if (ending) process.exitCode ||= code ?? 1;
    else if (restartWanted) start();
    else console.log('The service has ended. It starts again after the next change.');
  });
}

/** A process that also ends when this one is killed and can stop nothing any more. */
function spawnNode(args, stdout) {
  const all = ['--import', './test/support/process/end-with-parent.mjs', ...args];
  return spawn(process.execPath, all, { cwd: root, stdio: ['pipe', stdout, 'inherit'] });
}

function stop(child) {
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGTERM'), STOP_PATIENCE_MS).unref();
}

/** Without a compiler or a service, nothing keeps this process. */
function end() {
  if (ending) return;
  ending = true;
  compiler.kill();
  if (service !== null) stop(service);
}
