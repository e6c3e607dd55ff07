import { conversions } from '../../../src/gateway/images/media/conversions.js';

export type BusyDecoder = {
  /** Ends one of the conversions that run, so that the next one begins. */
  readonly endOne: () => Promise<void>;
  /** How many have begun. */
  readonly begun: () => number;
  readonly endAll: () => Promise<void>;
};

/** Keeps every conversion slot of this process busy with work of one account, and as much again waiting, until the test ends it. */
export async function occupyDecoder(owner: string, count: number): Promise<BusyDecoder> {
  const signal = new AbortController().signal;
  const ends: (() => void)[] = [];
  let begun = 0;
  let isOver = false;
  const all = Array.from({ length: count }, (_, index) =>
    conversions.run({ slotRequest: { owner, call: `${owner}-${index}` }, signal }, () => {
      begun += 1;
      return isOver ? Promise.resolve() : new Promise<void>((resolve) => void ends.push(resolve));
    }),
  );
  const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
  await settled();
  return {
    begun: () => begun,
    endOne: () => {
      ends.shift()?.();
      return settled();
    },
    endAll: async () => {
      isOver = true;
      for (const end of ends) end();
      await Promise.all(all);
    },
  };
}
