import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { bodyOf, enlargeImages, neverRead } from '../support/images/unread-answers.js';
import { newAccount, newApiKey, PLENTY_MICROS } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { eventually } from '../support/processes.js';

const CLIENTS = 40;
const IMAGES = 10;
/** A photo of four megapixels as a PNG: ten make an answer of a hundred megabytes. */
const PHOTO_BYTES = 7_500_000;
const RSS_MAX_MB = 600;
jest.setTimeout(CHAOS_TIMEOUT_MS);

const cleanUp = new CleanUp();
let dataDir: string;
let service: ServiceProcess;
beforeAll(async () => {
  dataDir = await createDataDir();
  cleanUp.add(() => removeDataDir(dataDir));
  service = await ServiceProcess.start({
    dataDir,
    port: await chooseServicePort(),
    env: { RATE_LIMIT: 'on' },
  });
  cleanUp.add(() => service.stop());
});
afterAll(() => cleanUp.run());

/** Of the service's process alone; its database server is another one. */
async function rssMb(): Promise<number> {
  const status = await readFile(`/proc/${service.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
}

// The kernel shows what a process holds on Linux only.
(process.platform === 'linux' ? describe : describe.skip)(
  'forty answers of a hundred megabytes that no client reads',
  () => {
    it(`leave the service below ${RSS_MAX_MB} MB, and alive for everybody else`, async () => {
      const apiKey = await newApiKey(service, await newAccount(service, PLENTY_MICROS), [
        'generate',
        'wallet:read',
      ]);
      const idempotencyKey = 'the-call';
      const body = JSON.parse(bodyOf(IMAGES)) as object;
      const headers = { 'idempotency-key': idempotencyKey };
      const made = await service.client(apiKey).post('/v1/images/generations', body, headers);
      const id = String(made.expect(200).headers.get('x-generation-id'));
      await enlargeImages(dataDir, id, IMAGES, PHOTO_BYTES);
      const sockets: Socket[] = Array.from({ length: CLIENTS }, () =>
        neverRead(service.url, { apiKey, idempotencyKey, images: IMAGES }),
      );
      cleanUp.add(() => Promise.resolve(sockets.forEach((socket) => socket.destroy())));
      await eventually('all have begun', () => sockets.every(({ bytesRead }) => bytesRead > 0));
      let highest = 0;
      for (let round = 0; round < 100; round += 1) {
        (await service.client(null).get('/health/live')).expect(200);
        highest = Math.max(highest, await rssMb());
      }
      expect(highest).toBeLessThan(RSS_MAX_MB);
      const other = await newApiKey(service, await newAccount(service, PLENTY_MICROS), [
        'generate',
        'wallet:read',
      ]);
      (await service.client(other).post('/v1/images/generations', JSON.parse(bodyOf(1)) as object)).expect(
        200,
      );
    });
  },
);
