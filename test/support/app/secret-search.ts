import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseApiKey } from '../../../src/identity/auth/credentials.js';
import { SECRETS_FILE_PREFIX } from './run-log.js';

export type LeakedSecret = {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly what: string;
  /** The line up to the secret, so that its place is found; of the secret itself the first characters. */
  readonly shown: string;
};

export type SecretSearch = {
  readonly files: number;
  readonly bytes: number;
  readonly secrets: number;
  readonly leaks: readonly LeakedSecret[];
};

/** What is secret by its form, no matter who made it. */
const PATTERNS: readonly (readonly [string, RegExp])[] = [
  ['an API key', /(?:sk|op)-cof-[0-9A-Za-z]{49}/g],
  ['a key of Black Forest Labs', /\bbfl_(?=\w*\d)\w{12,}/g],
  ['a webhook secret', /\bwhsec_[\w+/=-]{12,}/g],
  ['a Stripe key', /\b[sr]k_(?:test|live)_\w{10,}/g],
  ['a Stripe signature', /\bt=\d{10},v1=[0-9a-f]{64}/g],
  ['a webhook signature', /\bv1,[A-Za-z0-9+/]{43}=/g],
  ['an S3 signature', /\bAWS4-HMAC-SHA256 Credential=/g],
  ['a signed image URL', /[?&]expires=\d+&signature=[\w-]{40,}/g],
  ['a bearer credential', /\bBearer [\w.~+/-]{12,}/g],
  ['credentials in a URL', /\b(?:postgres|postgresql|redis|smtps?):\/\/[^\s:/@]+:[^\s/@]+@/g],
];

const SHOWN_BEFORE = 60;
const SHOWN_OF_SECRET = 6;
/** Long enough to be a secret; base64 and hex, with their signs. */
const TOKEN = /[\w+/.~-]{10,}={0,2}/g;

/**
 * Looks through everything that a test run collected: for each secret that a test made or was given, and for whatever
 * has the form of one.
 */
export async function searchSecrets(dir: string): Promise<SecretSearch> {
  const names = (await readdir(dir)).sort();
  const secrets = new SecretWords();
  for (const name of names.filter((one) => one.startsWith(SECRETS_FILE_PREFIX))) {
    for (const line of (await readFile(path.join(dir, name), 'utf8')).split('\n')) {
      if (line !== '') secrets.add(JSON.parse(line) as string);
    }
  }
  const searched = names.filter((one) => !one.startsWith(SECRETS_FILE_PREFIX));
  const leaks: LeakedSecret[] = [];
  let bytes = 0;
  for (const name of searched) {
    let line = 0;
    for await (const text of createInterface({ input: createReadStream(path.join(dir, name)) })) {
      line += 1;
      bytes += text.length + 1;
      for (const { what, shown } of findIn(text, secrets)) {
        leaks.push({ file: path.join(dir, name), line, what, shown });
      }
    }
  }
  return { files: searched.length, bytes, secrets: secrets.size, leaks };
}

type Found = Pick<LeakedSecret, 'what' | 'shown'> & { readonly secret: string };

function findIn(line: string, secrets: SecretWords): Found[] {
  const found: Found[] = [];
  for (const [what, pattern] of PATTERNS) {
    for (const { 0: text, index } of line.matchAll(pattern)) {
      // Anything of a key's form that has not its checksum is a test's garbage, and no one's key.
      if (what === 'an API key' && parseApiKey(text) === null) continue;
      found.push({ what, secret: text, shown: mask(line, index, text) });
    }
  }
  for (const text of secrets.in(line)) {
    if (found.some(({ secret }) => secret.includes(text))) continue;
    found.push({
      what: 'a secret that a test made',
      secret: text,
      shown: mask(line, line.indexOf(text), text),
    });
  }
  return found;
}

function mask(line: string, index: number, secret: string): string {
  const before = line.slice(Math.max(0, index - SHOWN_BEFORE), Math.max(0, index));
  return `${before}${secret.slice(0, SHOWN_OF_SECRET)}… (${secret.length} characters)`;
}

/** Thousands of secrets, found in one walk over a line: words by a look-up, only the few others one by one. */
class SecretWords {
  private readonly words = new Set<string>();
  private readonly phrases = new Set<string>();

  get size(): number {
    return this.words.size + this.phrases.size;
  }

  add(secret: string): void {
    if (secret.match(TOKEN)?.[0] === secret) this.words.add(secret);
    else this.phrases.add(secret);
  }

  *in(line: string): Generator<string> {
    for (const [token] of line.matchAll(TOKEN)) {
      // As it is, and as a part of a path, of a name or before a full stop.
      const parts = [token, token.replace(/[.=]+$/, ''), ...token.split(/[/.]/)];
      for (const part of new Set(parts)) if (this.words.has(part)) yield part;
    }
    for (const phrase of this.phrases) {
      if (line.includes(phrase) || line.includes(JSON.stringify(phrase).slice(1, -1))) yield phrase;
    }
  }
}
