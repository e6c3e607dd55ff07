import type { SeededRandom } from '../seeded-random.js';
import type { TestAnswer, TestClient } from '../app/test-client.js';

export const IMAGE_MODEL = 'black-forest-labs/flux-2-klein-9b';
export const IMAGE_MICROS = 40_000;
/** Small, so that drawing and decoding them costs next to nothing. */
export const IMAGE_PIXELS = 64;
const IMAGES_MAX = 3;

/** One image call, as its customer sees it. */
export type ImageCall = {
  readonly prompt: string;
  readonly images: number;
  readonly idempotencyKey: string | null;
  /** Null while there is none, or when the connection broke. */
  answer: TestAnswer | null;
};

/** Many clients of one account that have images made at the same time; half of their calls can be repeated. */
export class ImageCallsService {
  readonly calls: ImageCall[] = [];
  private stopping = false;
  private clients: Promise<void>[] = [];

  constructor(
    readonly customer: TestClient,
    private readonly random: SeededRandom,
  ) {}

  get answered(): readonly (ImageCall & { readonly answer: TestAnswer })[] {
    return this.calls.filter(hasAnswer);
  }

  get cut(): readonly ImageCall[] {
    return this.calls.filter((call) => !hasAnswer(call));
  }

  /** Lets so many clients call, each one call after the other, until `stop`, or until one gets no answer. */
  start(clients: number): void {
    this.stopping = false;
    this.clients.push(...Array.from({ length: clients }, () => this.callAgainAndAgain()));
  }

  /** Begins no new call, and resolves when every call has its answer, or will get none. */
  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.clients.splice(0));
  }

  async begin(prompt: string, idempotencyKey: string | null): Promise<ImageCall> {
    const images = this.random.between(1, IMAGES_MAX);
    const call: ImageCall = { prompt, images, idempotencyKey, answer: null };
    this.calls.push(call);
    await this.send(call);
    return call;
  }

  /** The same request under the same key: anyone who was cut off learns what became of the call. */
  async sendAgain(): Promise<void> {
    await Promise.all(this.cut.filter(({ idempotencyKey }) => idempotencyKey !== null).map(this.send));
  }

  private async callAgainAndAgain(): Promise<void> {
    for (let isCut = false; !isCut && !this.stopping;) {
      const number = this.calls.length;
      const idempotencyKey = this.random.next() < 0.5 ? `call-${number}` : null;
      isCut = (await this.begin(`image ${number}`, idempotencyKey)).answer === null;
    }
  }

  private readonly send = async (call: ImageCall): Promise<void> => {
    const { prompt, images: n, idempotencyKey } = call;
    const headers = idempotencyKey === null ? {} : { 'idempotency-key': idempotencyKey };
    const body = { model: IMAGE_MODEL, prompt, n, size: `${IMAGE_PIXELS}x${IMAGE_PIXELS}` };
    call.answer = await this.customer.post('/v1/images/generations', body, headers).catch(() => null);
  };
}

function hasAnswer(call: ImageCall): call is ImageCall & { readonly answer: TestAnswer } {
  return call.answer !== null;
}
