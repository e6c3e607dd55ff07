import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { Settings } from '../config/settings.js';
import type { StandIns } from '../startup/stand-ins.js';
import { StopStack } from '../startup/stop-stack.js';
import { welcomeDemoAccount } from './demo-account.js';
import { type LocalSecrets, loadLocalSecrets, withLocalSecrets } from './local-secrets.js';
import { RememberedPorts } from './remembered-ports.js';

const SANDBOX_DIR = 'sandbox';

/** Who else runs on the same data directory decides who starts the stand-ins. */
export type StandInRole = 'start' | 'join';

/**
 * Outside production: puts a stand-in in the place of each outside part that is not configured, independently
 * of the others, and hands out settings in which nothing is missing. The product knows only these settings;
 * it reaches a stand-in through the very SDK and adapter that reach the real thing.
 *
 * @param role `join` uses the stand-ins that another process started on the same data directory.
 */
export async function startFirstRun(
  wanted: Settings,
  databaseIsOurs: boolean,
  log: Logger,
  role: StandInRole = 'start',
): Promise<StandIns> {
  await mkdir(wanted.dataDir, { recursive: true, mode: 0o711 });
  const secrets = await loadLocalSecrets(wanted.dataDir);
  const context: Context = {
    settings: withLocalSecrets(wanted, secrets),
    secrets,
    ports: await RememberedPorts.load(join(wanted.dataDir, SANDBOX_DIR)),
    started: new StopStack(log),
    log,
    role,
  };
  const simulated = databaseIsOurs ? ['database'] : [];
  let stripeApiBase: string | null = null;
  let settings = context.settings;
  try {
    if (wanted.stripe === null) {
      const apiBase = await startStripe(context);
      stripeApiBase = apiBase.origin;
      simulated.push('stripe');
      const { stripeSecretKey: secretKey, stripeWebhookSecret: webhookSecret } = secrets;
      settings = { ...settings, stripe: { secretKey, webhookSecret, apiBase } };
    }
    if (wanted.blackForestLabs === null) {
      const apiBase = await startBlackForestLabs(context);
      simulated.push('black-forest-labs');
      settings = { ...settings, blackForestLabs: { apiKey: secrets.blackForestLabsKey, apiBase } };
    }
  } catch (error) {
    await context.started.unwind();
    throw error;
  }
  const { dataDir } = wanted;
  const operatorKey = settings.operatorKey ?? secrets.operatorKey;
  return {
    settings,
    simulated,
    welcome: (app: NestFastifyApplication, url: string) =>
      stripeApiBase === null || role === 'join'
        ? Promise.resolve(null)
        : welcomeDemoAccount(app, { dataDir, url, operatorKey, stripeApiBase }),
    stop: async () => void (await context.started.unwind()),
  };
}

type Context = {
  readonly settings: Settings;
  readonly secrets: LocalSecrets;
  readonly ports: RememberedPorts;
  readonly started: StopStack;
  readonly log: Logger;
  readonly role: StandInRole;
};

const STRIPE = 'stripe';
const BLACK_FOREST_LABS = 'black-forest-labs';

/** The stand-in that the other process runs; `join` fails where there is none. */
function joined(ports: RememberedPorts, standIn: string): URL {
  const port = ports.of(standIn);
  if (port === undefined) {
    throw new Error(`No ${standIn} stand-in has run on this data directory yet: start the service first.`);
  }
  return new URL(`http://127.0.0.1:${port}`);
}

async function startStripe({ settings, secrets, ports, started, log, role }: Context): Promise<URL> {
  if (role === 'join') return joined(ports, STRIPE);
  const { startSandboxStripe } = await import('../sandbox/stripe/server.js');
  const stripe = await ports.start(STRIPE, (port) =>
    startSandboxStripe({
      port,
      stateFile: join(settings.dataDir, SANDBOX_DIR, 'stripe.json'),
      apiKey: secrets.stripeSecretKey,
      webhookEndpoint: {
        url: `http://127.0.0.1:${settings.port}/webhooks/stripe`,
        secret: secrets.stripeWebhookSecret,
      },
      log: (fields, message) => log.debug({ ...fields, standIn: STRIPE }, message),
    }),
  );
  started.push('the Stripe stand-in', stripe.close);
  return new URL(stripe.baseUrl);
}

