import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { onAnswerEnd } from '../../src/platform/http/connections.js';

const COUNT = 20;

/** Answers of one connection, the second one queued after the first, as in Node when requests are pipelined. */
function twoAnswers(): {
  readonly socket: Socket;
  readonly first: ServerResponse;
  readonly second: ServerResponse;
} {
  const socket = new Socket();
  const answer = () => new ServerResponse(new IncomingMessage(socket));
  return { socket, first: answer(), second: answer() };
}

/** Who heard of the end, in order. */
function listen(answer: ServerResponse): number[] {
  const heard: number[] = [];
  for (let index = 0; index < COUNT; index += 1) onAnswerEnd(answer, () => heard.push(index));
  return heard;
}

const everyone = Array.from({ length: COUNT }, (_, index) => index);

describe('a listener for the end of an answer', () => {
  it('is called once, when the answer was sent or its connection has ended, and immediately if that has already happened', () => {
    const { socket, first, second } = twoAnswers();
    const [ofFirst, ofSecond] = [listen(first), listen(second)];
    first.emit('close');
    expect([ofFirst, ofSecond]).toEqual([everyone, []]);
    socket.destroy();
    socket.emit('close');
    second.emit('close');
    expect([ofFirst, ofSecond]).toEqual([everyone, everyone]);
    expect(listen(second)).toEqual(everyone);
  });

  it('shares one listener of Node’s with all others: twenty are no leak that Node warns of', () => {
    const { socket, first, second } = twoAnswers();
    const before = socket.listenerCount('close');
    for (const answer of [first, second, first]) listen(answer);
    expect([first, second].map((answer) => answer.listenerCount('close'))).toEqual([1, 1]);
    expect(socket.listenerCount('close') - before).toBe(1);
  });
});
