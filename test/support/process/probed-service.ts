import type { CleanUp } from '../clean-up.js';
import { chooseServicePort, createDataDir, removeDataDir, ServiceProcess } from './service-process.js';

/**
 * Starts the service with a probe, a module of this folder that is loaded before it (see `answer-line.mjs`), and resolves with
 * what the probe found. Node gets no option, so what holds there holds however the service is started.
 */
export async function probeService<T>(probe: string, cleanUp: CleanUp): Promise<T> {
  const dataDir = await createDataDir();
  cleanUp.add(() => removeDataDir(dataDir));
  const port = await chooseServicePort();
  const service = await ServiceProcess.start({ dataDir, port, preload: probe });
  cleanUp.add(() => service.stop());
  await service.sendLine('probe', 'probed');
  const [, printed = ''] = /probed (\{.*\})/.exec(service.output) ?? [];
  return JSON.parse(printed) as T;
}
