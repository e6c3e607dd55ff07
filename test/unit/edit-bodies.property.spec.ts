import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  EDIT_BYTES_MAX,
  EDIT_BYTES_PER_ACCOUNT_MAX,
  EditMemory,
  type Reservation,
} from '../../src/gateway/images/edits/edit-memory.js';
import { Problem } from '../../src/platform/errors/problem.js';
import { readJsonBody } from '../../src/gateway/images/edits/json-body.js';
import { unread } from '../support/images/edit-bodies.js';
import { readForm, refusal } from '../support/images/edit-readers.js';
import { drawSample } from '../support/images/sample-images.js';
import { checkProperty } from '../support/property.js';

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

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

describe('a JSON body', () => {
  it('brings an image to the byte, however its base64 is escaped, broken into lines or cut by the network', async () => {
    const png = await drawSample({ width: 64, height: 64 }).png({ compressionLevel: 0 }).toBuffer();
    await checkProperty(
      'images in base64',
      fc.asyncProperty(
        fc.constantFrom(1, 5, 1_000, 65_536),
        fc.constantFrom('', '\n', '\r\n', ' ', 'é'),
        fc.integer({ min: 1, max: 5_000 }),
        fc.constantFrom('/', '\\/', '\\u002f', '\\u002F'),
        fc.constantFrom('+', '\\u002b', '-'),
        fc.tuple(fc.uint8Array({ maxLength: 5 }), fc.boolean()),
        async (cut, lineEnd, lineLength, slash, plus, [tail, isPadded]) => {
          const sent = Buffer.concat([png, tail]);
          const base64 = sent.toString('base64').replace(isPadded ? '' : /=+$/, '');
          const lines = base64.match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? [];
          const text = JSON.stringify(`data:image/png;base64,${lines.join(lineEnd)}`)
            .replaceAll('/', () => slash)
            .replaceAll('+', () => plus);
          // Of the head, only slashes are ever escaped so.
          const head = `"data:image${slash.startsWith('\\u') ? '/' : slash}png`;
          const body = `{"images":[{ "image_url" : ${text.replace(/^"data:image[^p]+png/, () => head)}}],"prompt":"a"}`;
          const read = await readJsonBody(unread(Buffer.from(body), 'application/json', cut));
          const [image] = read.images.map(({ source }) => ('image' in source ? source.image.join() : null));
          expect(image?.equals(sent)).toBe(true);
          expect(read.members).toEqual({ prompt: 'a' });
        },
      ),
      { runs: 100 },
    );
  });
});

type Step =
  | { readonly kind: 'enter'; readonly account: number; readonly mebibytes: number }
  | { readonly kind: 'grow' | 'shrink' | 'release'; readonly edit: number; readonly mebibytes: number };

type Edit = { readonly account: number; readonly memory: Reservation; held: number };

const MIB = 1_048_576;
const mebibytes = fc.integer({ min: 1, max: 32 });
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('enter' as const), account: fc.nat({ max: 9 }), mebibytes }),
    fc.record({ kind: fc.constantFrom('grow', 'grow', 'shrink', 'release'), edit: fc.nat(), mebibytes }),
  ),
  { maxLength: 80 },
);

describe('the memory of edits', () => {
  it('is never promised twice, nor to one account alone, and comes back whole', async () => {
    await checkProperty(
      'the memory of edits',
      fc.asyncProperty(steps, async (script) => {
        const memory = new EditMemory();
        const edits: Edit[] = [];
        const entering: Promise<unknown>[] = [];
        const heldBy = (account: number) =>
          edits.reduce((sum, edit) => sum + (edit.account === account ? edit.held : 0), 0);
        for (const step of script) {
          if (step.kind === 'enter') {
            const { account } = step;
            const entered = memory
              .enter(`acct_${account}`, step.mebibytes * MIB)
              .then((reservation) => edits.push({ account, memory: reservation, held: 0 }));
            entering.push(entered.catch((error: unknown) => expect(error).toBeInstanceOf(Problem)));
          } else if (edits.length > 0) {
            const index = step.edit % edits.length;
            const edit = edits[index] as Edit;
            const bytes = step.mebibytes * MIB;
            if (step.kind === 'grow') {
              let isRefused = false;
              try {
                edit.memory.grow(bytes);
                edit.held += bytes;
              } catch {
                isRefused = true;
              }
              const free = EDIT_BYTES_MAX - memory.bytes;
              if (!isRefused) expect(heldBy(edit.account)).toBeLessThanOrEqual(free);
            } else if (step.kind === 'shrink') {
              edit.memory.shrinkTo(bytes);
              edit.held = Math.min(edit.held, bytes);
            } else {
              edits.splice(index, 1);
              edit.memory.release();
              edit.memory.release();
            }
          }
          await Promise.resolve();
          expect(memory.bytes).toBe(edits.reduce((sum, { held }) => sum + held, 0));
          for (const { account } of edits) {
            expect(heldBy(account)).toBeLessThanOrEqual(EDIT_BYTES_PER_ACCOUNT_MAX);
          }
        }
        // Whatever waits is let in as what was there before ends.
        while (edits.length > 0 || memory.waitingCount > 0) {
          expect(edits.length).toBeGreaterThan(0);
          for (const edit of edits.splice(0)) edit.memory.release();
          await settled();
        }
        await Promise.all(entering);
        expect(memory.bytes).toBe(0);
      }),
      { runs: 100 },
    );
  });
});
