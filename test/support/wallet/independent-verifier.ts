import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const VERIFIER = fileURLToPath(new URL('../../independent/verify_export.py', import.meta.url));
/** So many files are on the disk at once. */
const BATCH = 100;
const ANSWER = /^(VERIFIED|REFUSED line (\d+): .*): (\d+)$/s;

/** `line` is that of the first record at fault; null when the file was accepted. */
export type IndependentVerdict = { readonly line: number | null; readonly words: string };

/** What the verifier in Python, which was written from the README of the ledger alone, says of each file. */
export async function independentVerdicts(files: readonly Buffer[]): Promise<IndependentVerdict[]> {
  const verdicts: IndependentVerdict[] = [];
  for (let at = 0; at < files.length; at += BATCH) {
    verdicts.push(...(await judgeBatch(files.slice(at, at + BATCH))));
  }
  return verdicts;
}

async function judgeBatch(files: readonly Buffer[]): Promise<IndependentVerdict[]> {
  const directory = await mkdtemp(path.join(tmpdir(), 'coffer-exports-'));
  try {
    const names = files.map((_file, index) => `${index}`);
    await Promise.all(files.map((file, index) => writeFile(path.join(directory, `${index}`), file)));
    const lines = (await runVerifier(names, directory)).trimEnd().split('\n');
    if (lines.length !== files.length) throw new Error(`${lines.length} verdicts on ${files.length} files`);
    return lines.map((text, index) => {
      const [, words = '', line, name] = ANSWER.exec(text.replace(/^VERIFIED \d+ rows/, 'VERIFIED')) ?? [];
      if (name !== `${index}`) throw new Error(`no verdict on file ${index}: ${text}`);
      return { line: line === undefined ? null : Number(line), words };
    });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** `-I`: no setting and no package of this machine's user changes what is loaded, which is the standard library alone. */
async function runVerifier(files: readonly string[], cwd: string): Promise<string> {
  const child = spawn(pythonProgram(), ['-I', VERIFIER, ...files], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new PythonMissingError() : error),
    );
    child.once('close', resolve);
  });
  // 1: a file was refused. Anything else, and anything on stderr, is a fault of the verifier itself.
  if ((status !== 0 && status !== 1) || stderr !== '') {
    throw new Error(`the independent verifier failed with ${status}: ${stderr}`);
  }
  return stdout;
}

function pythonProgram(): string {
  return process.env['PYTHON3'] ?? 'python3';
}

export class PythonMissingError extends Error {
  constructor() {
    super(
      'The independent verifier of exports needs Python 3.8 or later, and there is no `python3` on the PATH. ' +
        'Install it (Debian, Ubuntu: `apt-get install python3`; macOS: `brew install python`), or name the program in PYTHON3.',
    );
    this.name = 'PythonMissingError';
  }
}
