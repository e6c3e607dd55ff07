import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { programArguments } from './program-arguments.js';
import { rememberSecretsOf, runLogFile } from '../app/run-log.js';

export type CliResult = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

/** Runs `coffer …` as its own process, with no setting but those given, in a directory without a `.env`. */
export async function runCli(
  args: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: string;
    readonly cwd?: string;
    /** Another program of `src` than the command line. */
    readonly program?: string;
  } = {},
): Promise<CliResult> {
  rememberSecretsOf(options.env ?? {});
  const child = spawn(process.execPath, [...programArguments(options.program ?? 'cli'), ...args], {
    cwd: options.cwd ?? '/',
    env: { PATH: process.env['PATH'], ...options.env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  // Its stdout may be a new key; what it complains of may not.
  const log = runLogFile(`cli-${process.pid}-${child.pid}.log`);
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    if (log !== null) appendFileSync(log, chunk);
  });
  child.stdin.on('error', () => undefined); // It may end before it has read everything.
  child.stdin.end(options.input ?? '');
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { status, stdout, stderr };
}
