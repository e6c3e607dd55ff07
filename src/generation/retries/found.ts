import type { GenerationAnswer } from '../generation-answer.js';

/** What a call found that may have been sent before: the answer of the earlier one, or none; then it has to run. */
export type Found = {
  readonly answer: GenerationAnswer | null;
  /** Open holds for the same request that are of other calls: each has its own client, or another retry. */
  readonly otherCallsHoldIds: readonly string[];
};

export const NOTHING_FOUND: Found = { answer: null, otherCallsHoldIds: [] };
