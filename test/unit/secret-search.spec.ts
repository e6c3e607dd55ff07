import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { SECRETS_FILE_PREFIX } from '../support/app/run-log.js';
import { searchSecrets } from '../support/app/secret-search.js';

let dir: string;
beforeEach(async () => (dir = await mkdtemp(path.join(tmpdir(), 'coffer-search-'))));
afterEach(() => rm(dir, { recursive: true }));

const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
const line = (text: string): string => JSON.stringify({ level: 'info', msg: `before ${text} after` });

describe('the search for secrets in what a test run logged', () => {
  it.each([
    ['an API key', makeApiKey('account_key')],
    ['an API key', makeApiKey('operator_key')],
    ['a key of Black Forest Labs', `bfl_${hex(12)}`],
    ['a webhook secret', `whsec_${randomBytes(24).toString('base64')}`],
    ['a Stripe key', `sk_test_${hex(12)}`],
    ['a Stripe key', `rk_live_${hex(12)}`],
    ['a Stripe signature', `t=1795333161,v1=${hex(32)}`],
    ['a webhook signature', `v1,${randomBytes(32).toString('base64')}`],
    ['an S3 signature', `AWS4-HMAC-SHA256 Credential=AKIA/20261122/eu/s3/aws4_request`],
    ['a signed image URL', `/0.png?expires=1795333161&signature=${randomBytes(32).toString('base64url')}`],
    ['a bearer credential', `Bearer ${hex(10)}`],
    ['credentials in a URL', 'postgres://coffer:hunter2@db/coffer'],
  ])(
    'finds %s by its form, wherever it occurs, and shows no more than its beginning',
    async (what, secret) => {
      await writeFile(path.join(dir, 'app-1.log'), `${line('fine')}\n${line(secret)}\n`);
      const { leaks } = await searchSecrets(dir);
      expect(leaks).toMatchObject([{ what, file: path.join(dir, 'app-1.log'), line: 2 }]);
      expect(leaks[0]?.shown).not.toContain(secret);
      expect(leaks[0]?.shown).toContain('before');
    },
  );

  it.each([
    ['base64', randomBytes(32).toString('base64')],
    ['base64url', randomBytes(32).toString('base64url')],
    ['hex', hex(32)],
    ['a prompt, with quotes', 'a "fox" that\nno log may mention'],
    ['a password', 'correct-horse-battery'],
  ])('finds what a test made itself: %s', async (_form, secret) => {
    await writeFile(path.join(dir, `${SECRETS_FILE_PREFIX}7.txt`), `${JSON.stringify(secret)}\n`);
    await writeFile(path.join(dir, 'answers-7.log'), `POST 500 ${line(`key=${secret}, or so.`)}\n`);
    const { leaks, secrets, files } = await searchSecrets(dir);
    expect({ leaks: leaks.length, secrets, files }).toEqual({ leaks: 1, secrets: 1, files: 1 });
  });

  it('finds a secret that one process made and another one logged', async () => {
    const secret = hex(20);
    await writeFile(path.join(dir, `${SECRETS_FILE_PREFIX}1.txt`), `${JSON.stringify(secret)}\n`);
    await writeFile(path.join(dir, 'service-2-4000.log'), line(`/path/${secret}/`));
    expect((await searchSecrets(dir)).leaks).toHaveLength(1);
  });

  it('takes nothing else for a secret: ids, hints, names, keys that were never made', async () => {
    const garbage = makeApiKey('account_key').replace(/.{6}$/, '000000');
    const harmless = [
      'gen_01KB2H7Q0000000000000000AA key_01KB2H7Q0000000000000000AA',
      'sk-cof-…a1B2 BFL_API_KEY STRIPE_WEBHOOK_SECRET bfl_active_tasks',
      'postgres://127.0.0.1:5432/coffer https://api.stripe.com/v1?expires=1',
      garbage,
    ];
    await writeFile(path.join(dir, 'app-1.log'), harmless.map(line).join('\n'));
    expect((await searchSecrets(dir)).leaks).toEqual([]);
  });
});
