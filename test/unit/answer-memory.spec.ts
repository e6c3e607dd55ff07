import { describe, expect, it } from '@jest/globals';
import {
  ANSWER_BYTES_MAX,
  ANSWER_BYTES_PER_ACCOUNT_MAX,
  AnswerMemory,
  AnswersBusyError,
  STREAM_BYTES,
} from '../../src/gateway/images/calls/answer-memory.js';

describe('the memory of answers', () => {
  it('refuses a call before it is made when its account, or all together, hold what they may', () => {
    const memory = new AnswerMemory();
    const perAccount = Math.floor(ANSWER_BYTES_PER_ACCOUNT_MAX / STREAM_BYTES);
    const first = Array.from({ length: perAccount }, () => memory.reserve('one'));
    expect(() => memory.reserve('one')).toThrow(AnswersBusyError);
    for (const account of ['two', 'three', 'four']) {
      for (let index = 0; index < perAccount; index += 1) memory.reserve(account);
    }
    while (memory.bytes + STREAM_BYTES <= ANSWER_BYTES_MAX) memory.reserve('five');
    expect(() => memory.reserve('six')).toThrow(AnswersBusyError);
    first.forEach(({ release }) => release());
    expect(memory.reserve('one').tryKeep(1)).toBe(true);
  });

  it('keeps images while there is room, and never refuses a call for them', () => {
    const memory = new AnswerMemory();
    const { tryKeep, release } = memory.reserve('one');
    const half = ANSWER_BYTES_PER_ACCOUNT_MAX / 2;
    expect([tryKeep(half), tryKeep(half), tryKeep(1)]).toEqual([true, false, true]);
    expect(memory.reserve('one').tryKeep(half)).toBe(false);
    expect(memory.bytes).toBe(half + 1 + 2 * STREAM_BYTES);
    release();
    release();
    expect(memory.bytes).toBe(STREAM_BYTES);
    // The client has left: what its call still makes is for the store.
    expect(tryKeep(1)).toBe(false);
  });
});
