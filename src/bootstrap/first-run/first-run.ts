import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Settings } from '../../platform/config/settings.js';
import type { StandIns } from '../stand-ins.js';
import { StopStack } from '../stop-stack.js';
import { blackForestLabsStandIn } from './black-forest-labs-stand-in.js';
import { welcomeDemoAccount } from './demo-account.js';
import { loadLocalSecrets, withLocalSecrets } from './local-secrets.js';
import { RememberedPorts } from './remembered-ports.js';
import type { StandIn, StandInContext } from './stand-in.js';
import { stripeStandIn } from './stripe-stand-in.js';

const SANDBOX_DIR = 'sandbox';
const STAND_INS: readonly StandIn[] = [stripeStandIn, blackForestLabsStandIn];

/** The service starts its stand-ins; a worker beside it joins them. */
export type FirstRunRole = 'start' | 'join';

/**
 * Outside production: puts a stand-in in the place of each outside part that is not configured, independently
 * of the others, and answers settings in which nothing is missing. The product knows only these settings; it
 * reaches a stand-in through the very SDK and adapter that reach the real thing.
 */
export async function startFirstRun(wanted: Settings, log: Logger, role: FirstRunRole): Promise<StandIns> {
  // Passable but not listable, as the embedded server makes it.
  await mkdir(wanted.dataDir, { recursive: true, mode: 0o711 });
  const secrets = await loadLocalSecrets(wanted.dataDir);
  const directory = join(wanted.dataDir, SANDBOX_DIR);
  const ports = await RememberedPorts.load(directory);
  const started = new StopStack(log);
  const needed = STAND_INS.filter((standIn) => standIn.isNeeded(wanted));
  let settings = withLocalSecrets(wanted, secrets);
  try {
    for (const standIn of needed) {
      const context: StandInContext = {
        settings,
        secrets,
        directory,
        log: (fields, message) => log.debug({ standIn: standIn.name, ...fields }, message),
      };
      const apiBase =
        role === 'start' ? await startOne(standIn, context, ports, started) : ports.baseUrlOf(standIn.name);
      settings = standIn.configure(settings, secrets, apiBase);
    }
  } catch (error) {
    await started.unwind();
    throw error;
  }
  const withDemo = role === 'start' && needed.includes(stripeStandIn);
  return {
    settings,
    simulated: needed.map(({ name }) => name),
    welcome: (app, url) => (withDemo ? welcomeDemoAccount(app, settings, url) : Promise.resolve(null)),
    stop: async () => void (await started.unwind()),
  };
}

async function startOne(
  standIn: StandIn,
  context: StandInContext,
  ports: RememberedPorts,
  started: StopStack,
): Promise<URL> {
  const running = await ports.start(standIn.name, (port) => standIn.start(context, port));
  started.push(`the ${standIn.name} stand-in`, running.close);
  return new URL(running.baseUrl);
}
