import { expect } from '@jest/globals';
import sharp from 'sharp';
import { IMAGE_MICROS, IMAGE_PIXELS, type ImageCallsService } from './image-calls.js';
import type { TestAnswer, TestClient } from '../app/test-client.js';

/** What the service says of a call afterwards. */
type Receipt = {
  readonly id: string;
  readonly status: string;
  readonly images_delivered: number;
  readonly charged_micros: string;
  readonly images: readonly { readonly url: string }[];
};

/**
 * Delivered = charged, on every receipt; each answer was true about its call; and the wallet has paid
 * for these receipts and nothing else. All calls must be over, and recovered.
 */
export async function expectReceiptsToAgree(calls: ImageCallsService, creditMicros: number): Promise<void> {
  const receipts = await receiptsOf(calls.customer);
  let charged = 0;
  for (const { status, images_delivered: delivered, charged_micros: micros, images } of receipts) {
    expect(status).toBe(delivered > 0 ? 'succeeded' : 'failed');
    expect(micros).toBe(String(delivered * IMAGE_MICROS));
    expect(images).toHaveLength(delivered);
    charged += delivered * IMAGE_MICROS;
  }
  const byId = new Map(receipts.map((receipt) => [receipt.id, receipt]));
  expect(calls.answered.flatMap(({ answer }) => liesIn(answer, byId))).toEqual([]);
  const { body: wallet } = (await calls.customer.get('/v1/wallet')).expect(200);
  expect(wallet).toMatchObject({ posted_micros: String(creditMicros - charged), held_micros: '0' });
}

/** Also of answers whose process is dead by now: their URLs still lead to whole images. */
export async function expectImagesToBeKept(calls: ImageCallsService): Promise<void> {
  const answered = calls.answered.flatMap(({ answer }): { url: string }[] => answer.body.data ?? []);
  const kept = (await receiptsOf(calls.customer)).flatMap(({ images }) => images);
  await Promise.all([...answered, ...kept].map(({ url }) => expectWholeImage(url)));
}

export async function receiptsOf(customer: TestClient): Promise<Receipt[]> {
  const found: Receipt[] = [];
  for (let after = ''; ; after = `&starting_after=${found.at(-1)?.id}`) {
    const { body } = (await customer.get(`/v1/generations?limit=100${after}`)).expect(200);
    found.push(...body.data);
    if (body.has_more !== true) return found;
  }
}

/** What an answer said of the charge, and the receipt does not bear out. */
function liesIn(answer: TestAnswer, receipts: ReadonlyMap<string, Receipt>): string[] {
  const { status, headers, body } = answer;
  const error: Record<string, unknown> | undefined = body.error;
  const receipt = receipts.get(headers.get('x-generation-id') ?? String(error?.['generation_id']));
  const answered = JSON.stringify({ status, charged: headers.get('x-charged-micros'), ...body });
  const found = JSON.stringify(receipt ?? null);
  if (error === undefined) {
    const isTrue =
      receipt?.images_delivered === body.data.length &&
      receipt?.charged_micros === headers.get('x-charged-micros');
    return isTrue ? [] : [`${answered} but ${found}`];
  }
  // Not known when it was answered, and said so.
  if (error['outcome'] === 'pending') return [];
  // Its key could not be looked up, so it was never a call; one that has begun names its generation.
  if (error['code'] === 'database_unavailable' && !('generation_id' in error || 'charged_micros' in error))
    return [];
  const isFree = receipt === undefined || receipt.charged_micros === '0';
  return error['charged_micros'] === '0' && isFree ? [] : [`${answered} but ${found}`];
}

async function expectWholeImage(url: string): Promise<void> {
  const answer = await fetch(url);
  expect(answer.status).toBe(200);
  const { data, info } = await sharp(Buffer.from(await answer.arrayBuffer()))
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: IMAGE_PIXELS, height: IMAGE_PIXELS });
  expect(data).toHaveLength(info.width * info.height * info.channels);
}
