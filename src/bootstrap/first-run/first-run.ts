import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Settings } from '../../platform/config/settings.js';
import type { Simulators } from '../simulators.js';
import { StopStack } from '../stop-stack.js';
import { welcomeDemoAccount } from './demo-account.js';
import { loadLocalSecrets, withLocalSecrets } from './local-secrets.js';
import { RememberedPorts } from './remembered-ports.js';
import {
  simulatedBlackForestLabs,
  simulatedStripe,
  type SimulatedPart,
  type SimulatorContext,
} from './simulated-parts.js';

const SANDBOX_DIR = 'sandbox';
const PARTS: readonly SimulatedPart[] = [simulatedStripe, simulatedBlackForestLabs];

/** The service starts its simulators; a separate worker joins them. */
export type FirstRunRole = 'start' | 'join';

/**
 * Outside production, this replaces each outside part that is not configured by a simulator, independently of the
 * others, and returns settings in which nothing is missing. The product knows only these settings; it reaches a
 * simulator through the same SDK and adapter as the real service.
 */
export async function startFirstRun(wanted: Settings, log: Logger, role: FirstRunRole): Promise<Simulators> {
  // Other users may traverse the directory but not list it, as with the embedded server's directories.
  await mkdir(wanted.dataDir, { recursive: true, mode: 0o711 });
  const secrets = await loadLocalSecrets(wanted.dataDir);
  const directory = join(wanted.dataDir, SANDBOX_DIR);
  const ports = await RememberedPorts.load(directory);
  const started = new StopStack(log);
  const needed = PARTS.filter((part) => part.isNeeded(wanted));
  let settings = withLocalSecrets(wanted, secrets);
  try {
    for (const part of needed) {
      const context: SimulatorContext = {
        settings,
        secrets,
        directory,
        log: (fields, message) =>
          log.debug({ event: 'simulator.reported', simulator: part.name, ...fields }, message),
      };
      const apiBase =
        role === 'start' ? await startOne(part, context, ports, started) : ports.getBaseUrl(part.name);
      settings = part.configure(settings, secrets, apiBase);
    }
  } catch (error) {
    await started.unwind();
    throw error;
  }
  const withDemo = role === 'start' && needed.includes(simulatedStripe);
  return {
    settings,
    simulated: needed.map(({ name }) => name),
    welcome: (app, url) => (withDemo ? welcomeDemoAccount(app, settings, url) : Promise.resolve(null)),
    stop: async () => void (await started.unwind()),
  };
}

async function startOne(
  part: SimulatedPart,
  context: SimulatorContext,
  ports: RememberedPorts,
  started: StopStack,
): Promise<URL> {
  const running = await ports.start(part.name, (port) => part.start(context, port));
  started.push(`the ${part.name} simulator`, running.close);
  return new URL(running.baseUrl);
}
