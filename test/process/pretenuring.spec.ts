import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';

const cleanUp = new CleanUp();
jest.setTimeout(CHAOS_TIMEOUT_MS);
afterAll(() => cleanUp.run());

describe('what the service makes for one call', () => {
  it('is young, however long objects of the same code lived before, without any option of Node', async () => {
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    const port = await chooseServicePort();
    const service = await ServiceProcess.start({ dataDir, port, preload: 'make-objects.mjs' });
    cleanUp.add(() => service.stop());
    await service.tell('make', 'made');
    const [, printed = ''] = /made (\{.*\})/.exec(service.output) ?? [];
    expect(JSON.parse(printed)).toMatchObject({ objects: 4_000, bornOld: 0 });
  });
});
