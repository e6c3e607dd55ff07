import { appendFileSync } from 'node:fs';
import path from 'node:path';
import type { DestinationStream, Logger } from 'pino';
import { createLogger } from '../../../src/platform/logging/logger.js';

/** The folder where a test run collects what the service logged and answered. Set by jest's globalSetup. */
export const RUN_LOG_VARIABLE = 'COFFER_TEST_RUN_LOG';
/** Read by the search; everything else in the folder is searched. */
export const SECRETS_FILE_PREFIX = 'secrets-';

/** Shorter ones are found by chance, in words that are no secret. */
const SECRET_CHARS_MIN = 10;
/** Members of requests and answers that are secret, whatever route they belong to. */
const SECRET_MEMBERS = /(^|_)(secret|key|password|token)$/;
/** What a key is called, which is no secret. */
const ID = /^[a-z]+_[0-9A-Z]{26}$/;
/** A prompt that is unique. A shorter one is looked for as a whole value: `"a fox"`. */
const PROMPT_CHARS_MIN = 16;

const known = new Set<string>();

/** Null outside of a test run: a script that uses the same drivers. */
export function runLogFile(name: string): string | null {
  const dir = process.env[RUN_LOG_VARIABLE];
  return dir === undefined ? null : path.join(dir, name);
}

/** A test's logger: the lines of its level go to `stream`, and all lines of any level where they are searched. */
export function testLogger(level = 'silent', stream?: DestinationStream): Logger {
  const traceFile = runLogFile(`app-${process.pid}.log`);
  return createLogger(level, { traceFile, ...(stream === undefined ? {} : { stream }) });
}

/** From now on this text may be in no line of a log and in no answer that is an error. */
export function rememberSecret(secret: string | null | undefined): void {
  if (typeof secret === 'string' && secret.length >= SECRET_CHARS_MIN) remember(secret);
}

function remember(secret: string): void {
  const file = runLogFile(`${SECRETS_FILE_PREFIX}${process.pid}.txt`);
  if (file === null || known.has(secret)) return;
  known.add(secret);
  appendFileSync(file, `${JSON.stringify(secret)}\n`);
}

/** The secrets of a JSON body, wherever in it they stand. */
export function rememberSecretsIn(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  for (const [name, value] of Object.entries(body)) {
    if (typeof value !== 'string') rememberSecretsIn(value);
    else if (SECRET_MEMBERS.test(name) && !ID.test(value)) rememberSecret(value);
    else if (name === 'prompt') rememberPrompt(value);
  }
}

function rememberPrompt(prompt: string): void {
  if (prompt.length >= PROMPT_CHARS_MIN) rememberSecret(prompt);
  // Of blanks alone it says nothing, and is between any two quotes.
  else if (/\S \S/.test(prompt)) remember(`"${prompt}"`);
}

/** Those among the settings of a process. Named values like these are not to be printed by anyone. */
export function rememberSecretsOf(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (name === 'COFFER_MASTER_KEYS') value.split(',').forEach((pair) => rememberSecret(pair.split(':')[1]));
    else if (/_KEY$|SECRET|PASSWORD|TOKEN/.test(name)) rememberSecret(value);
  }
}

/** What a client read when it went wrong, without the secrets that it sent. */
export function recordError(method: string, status: number, text: string): void {
  const file = runLogFile(`answers-${process.pid}.log`);
  if (file !== null) appendFileSync(file, `${method} ${status} ${text.replaceAll('\n', ' ')}\n`);
}
