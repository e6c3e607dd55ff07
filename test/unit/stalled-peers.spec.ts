import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CHECKS_WITHOUT_PROGRESS_MAX, StalledPeers } from '../../src/platform/http/connections.js';
import { eventually, nextTurn } from '../support/processes.js';

/** Far more than the kernel takes for a peer that does not read. */
const LARGE_BYTES = 20_000_000;
const MANY_CHECKS = 10 * CHECKS_WITHOUT_PROGRESS_MAX;

let server: Server;
let peers: StalledPeers;
let answer: (response: ServerResponse) => void;
/** Both ends of the one connection. */
let peer: Socket;
let connection: Socket;
let taken: () => number;

beforeEach(async () => {
  server = createServer((_request, response) => answer(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // Made once the server listens, it has no timer of its own, and the checks of these tests are the only ones.
  peers = new StalledPeers(server);
  peer = connect((server.address() as AddressInfo).port, '127.0.0.1');
  peer.on('error', () => undefined);
  [connection] = (await once(server, 'connection')) as [Socket];
  const stream = (connection as unknown as { _handle: { bytesWritten: number; writeQueueSize: number } })
    ._handle;
  taken = () => stream.bytesWritten - stream.writeQueueSize;
});
afterEach(async () => {
  peer.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

function ask(): void {
  peer.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
}

async function askForLargeAnswer(): Promise<void> {
  answer = (response) => response.end(Buffer.alloc(LARGE_BYTES));
  ask();
  await eventually('the answer is under way', () => taken() > 0);
}

/** How many checks after the first one that saw its last byte taken, the connection was dropped. */
async function checksUntilDropped(betweenChecks: () => void = () => undefined): Promise<number> {
  let checks = 0;
  for (let seen = -1, all = 0; !connection.destroyed; all += 1) {
    expect(all).toBeLessThan(10 * MANY_CHECKS);
    // What the kernel takes, it takes between two turns of the event loop.
    checks = taken() === seen ? checks + 1 : 0;
    seen = connection.writableLength === 0 ? -1 : taken();
    peers.check();
    betweenChecks();
    await nextTurn();
  }
  return checks;
}

/** Reads one piece in each iteration of the event loop: a peer that reads freely may have the whole answer before the first check. */
async function readUntilKernelTakesMore(): Promise<void> {
  const before = taken();
  const pause = (): unknown => peer.pause();
  peer.on('data', pause);
  while (taken() === before && connection.writableLength > 0) {
    peer.resume();
    await nextTurn();
  }
  peer.off('data', pause);
}

async function expectNeverDropped(): Promise<void> {
  for (let check = 0; check < MANY_CHECKS; check += 1) {
    peers.check();
    await nextTurn();
  }
  expect(connection.destroyed).toBe(false);
}

describe('a peer that reads nothing of its answer', () => {
  it('is disconnected after exactly the allowed number of checks without progress, and not after twice as many', async () => {
    await askForLargeAnswer();
    expect(await checksUntilDropped()).toBe(CHECKS_WITHOUT_PROGRESS_MAX);
  });

  it('is disconnected as soon although it continues to send requests', async () => {
    await askForLargeAnswer();
    expect(await checksUntilDropped(ask)).toBe(CHECKS_WITHOUT_PROGRESS_MAX);
  });

  it('is disconnected as soon when small answers to pipelined requests are more than the kernel accepts', async () => {
    answer = (response) => response.end('x'.repeat(10_000));
    await eventually('an answer waits', () => {
      for (let request = 0; request < 100; request += 1) ask();
      return connection.writableLength > 0;
    });
    expect(await checksUntilDropped(ask)).toBe(CHECKS_WITHOUT_PROGRESS_MAX);
  });
});

describe('never disconnected is a peer', () => {
  it('that reads, however slowly, also when its answer is one large write', async () => {
    await askForLargeAnswer();
    while (connection.writableLength > 0) {
      for (let check = 1; check < CHECKS_WITHOUT_PROGRESS_MAX; check += 1) peers.check();
      await readUntilKernelTakesMore();
    }
    expect(connection.destroyed).toBe(false);
  });

  it('whose answers the kernel has accepted completely; its connection ends with its keep-alive time', async () => {
    answer = (response) => response.end('small');
    const requests = 3;
    for (let request = 0; request < requests; request += 1) ask();
    await eventually('they are answered', () => taken() > requests * 'small'.length);
    await expectNeverDropped();
    server.keepAliveTimeout = 1;
    ask();
    await eventually('it is closed', () => connection.destroyed);
  });

  it('whose call takes long: no byte of its answer is unsent', async () => {
    let called: ServerResponse | undefined;
    answer = (response) => (called = response);
    ask();
    await eventually('the call works', () => called !== undefined);
    await expectNeverDropped();
    peer.on('data', () => undefined);
    called?.end('done');
    await eventually('it is answered', () => peer.bytesRead > 0);
  });

  it('that has begun to read again: its checks are counted from there', async () => {
    await askForLargeAnswer();
    let checks = 0;
    for (let seen = -1; checks < CHECKS_WITHOUT_PROGRESS_MAX - 1; await nextTurn()) {
      checks = taken() === seen ? checks + 1 : 0;
      seen = taken();
      peers.check();
    }
    expect(connection.destroyed).toBe(false);
    await readUntilKernelTakesMore();
    expect(await checksUntilDropped()).toBe(CHECKS_WITHOUT_PROGRESS_MAX);
  });
});
