import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  EDIT_BYTES_MAX,
  EDIT_BYTES_PER_ACCOUNT_MAX,
  EditMemory,
} from '../../src/generation/edits/edit-memory.js';
import { Problem } from '../../src/problems/problem.js';
import { readForm, refusal } from '../support/images/edit-readers.js';
import { checkProperty } from '../support/property.js';

describe('a form', () => {
  it('of garbage is refused, whatever it is', async () => {
    await checkProperty(
      'forms of garbage',
      fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), fc.boolean(), async (noise, inside) => {
        const text = Buffer.from(noise);
        const body = inside ? Buffer.concat([Buffer.from('\r\n --a-boundary\r\n'), text]) : text;
        expect((await refusal(readForm(body))).code).toMatch(/^(malformed_body|invalid_request)$/);
      }),
      { runs: 100 },
    );
  });
});

describe('the memory of edits', () => {
  it('is never promised twice, nor to one account alone, and comes back whole', async () => {
    await checkProperty(
      'the memory of edits',
      fc.property(
        fc.array(
          fc.record({
            account: fc.nat({ max: 5 }),
            mebibytes: fc.integer({ min: 1, max: 32 }),
            ends: fc.nat(),
          }),
        ),
        (calls) => {
          const memory = new EditMemory();
          const open: { account: number; bytes: number; release: () => void }[] = [];
          for (const { account, mebibytes, ends } of calls) {
            const bytes = mebibytes * 1_048_576;
            const ofAccount = open.reduce(
              (sum, call) => sum + (call.account === account ? call.bytes : 0),
              0,
            );
            const fits =
              memory.bytes + bytes <= EDIT_BYTES_MAX && ofAccount + bytes <= EDIT_BYTES_PER_ACCOUNT_MAX;
            const reserve = () => memory.reserve(`acct_${account}`, bytes);
            if (fits) open.push({ account, bytes, release: reserve().release });
            else expect(reserve).toThrow(Problem);
            if (ends % 3 === 0) open.splice(ends % (open.length || 1), 1)[0]?.release();
            expect(memory.bytes).toBe(open.reduce((sum, call) => sum + call.bytes, 0));
          }
          for (const { release } of open) {
            release();
            release();
          }
          expect(memory.bytes).toBe(0);
        },
      ),
      { runs: 100 },
    );
  });
});
