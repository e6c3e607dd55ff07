import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Settings } from '../../platform/config/settings.js';
import type { Simulators } from '../simulators.js';
import { StopStack } from '../stop-stack.js';
import { blackForestLabsSimulator } from './black-forest-labs-simulator.js';
import { welcomeDemoAccount } from './demo-account.js';
import { loadLocalSecrets, withLocalSecrets } from './local-secrets.js';
import { RememberedPorts } from './remembered-ports.js';
import type { Simulator, SimulatorContext } from './simulator.js';
import { stripeSimulator } from './stripe-simulator.js';

const SANDBOX_DIR = 'sandbox';
const SIMULATORS: readonly Simulator[] = [stripeSimulator, blackForestLabsSimulator];

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
  const needed = SIMULATORS.filter((simulator) => simulator.isNeeded(wanted));
  let settings = withLocalSecrets(wanted, secrets);
  try {
    for (const simulator of needed) {
      const context: SimulatorContext = {
        settings,
        secrets,
        directory,
        log: (fields, message) => log.debug({ simulator: simulator.name, ...fields }, message),
      };
      const apiBase =
        role === 'start'
          ? await startOne(simulator, context, ports, started)
          : ports.getBaseUrl(simulator.name);
      settings = simulator.configure(settings, secrets, apiBase);
    }
  } catch (error) {
    await started.unwind();
    throw error;
  }
  const withDemo = role === 'start' && needed.includes(stripeSimulator);
  return {
    settings,
    simulated: needed.map(({ name }) => name),
    welcome: (app, url) => (withDemo ? welcomeDemoAccount(app, settings, url) : Promise.resolve(null)),
    stop: async () => void (await started.unwind()),
  };
}

async function startOne(
  simulator: Simulator,
  context: SimulatorContext,
  ports: RememberedPorts,
  started: StopStack,
): Promise<URL> {
  const running = await ports.start(simulator.name, (port) => simulator.start(context, port));
  started.push(`the ${simulator.name} simulator`, running.close);
  return new URL(running.baseUrl);
}
