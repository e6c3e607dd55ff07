import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startSandboxBlackForestLabs } from './black-forest-labs/server.js';
import { isLoopbackUrl } from './loopback-server.js';
import { startSandboxStripe } from './stripe/server.js';

/**
 * Runs the simulators as a process of their own: they then survive the service, and the service survives them.
 *
 *   node packages/sandbox/dist/main.js --stripe-port 12111 --bfl-port 12112 --state-dir .coffer \
 *     --webhook-url http://127.0.0.1:3000/webhooks/stripe --webhook-secret whsec_local
 *
 * Prints one line of JSON with both base URLs when it serves; SIGTERM and SIGINT end it.
 */
const USAGE_EXIT_CODE = 2;
const PORT_MAX = 65_535;
const LATENCY_MAX_MS = 600_000;

const OPTIONS = {
  'bfl-instant': { type: 'boolean', default: false },
  'bfl-latency-ms': { type: 'string' },
  'bfl-port': { type: 'string', default: '0' },
  'bfl-unlimited': { type: 'boolean', default: false },
  'state-dir': { type: 'string' },
  'stripe-port': { type: 'string', default: '0' },
  'webhook-secret': { type: 'string' },
  'webhook-url': { type: 'string' },
} as const;

class UsageError extends Error {}

function parseFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(flag: string, text: string, max: number): number {
  if (/^[0-9]{1,6}$/.test(text) && Number(text) <= max) return Number(text);
  throw new UsageError(`--${flag} must be a whole number from 0 to ${max}`);
}

function readFlags(args: readonly string[]) {
  const values = parseFlags(args);
  const { 'webhook-url': url, 'webhook-secret': secret, 'state-dir': stateDir } = values;
  if ((url === undefined) !== (secret === undefined)) {
    throw new UsageError('--webhook-url and --webhook-secret belong together');
  }
  if (url !== undefined && !isLoopbackUrl(url))
    throw new UsageError('--webhook-url must stay on this machine');
  const latency = values['bfl-latency-ms'];
  return {
    stripe: {
      port: wholeNumber('stripe-port', values['stripe-port'], PORT_MAX),
      ...(stateDir === undefined ? {} : { stateFile: join(stateDir, 'stripe.json') }),
      ...(url === undefined || secret === undefined ? {} : { webhookEndpoint: { url, secret } }),
    },
    blackForestLabs: {
      port: wholeNumber('bfl-port', values['bfl-port'], PORT_MAX),
      instant: values['bfl-instant'],
      ...(values['bfl-unlimited'] ? { activeTasksMax: null } : {}),
      ...(latency === undefined ? {} : { latencyMs: wholeNumber('bfl-latency-ms', latency, LATENCY_MAX_MS) }),
    },
  };
}

async function main(args: readonly string[]): Promise<void> {
  const flags = readFlags(args);
  const stripe = await startSandboxStripe(flags.stripe);
  const blackForestLabs = await startSandboxBlackForestLabs(flags.blackForestLabs);
  const addresses = { stripe_api_base: stripe.baseUrl, bfl_api_base: blackForestLabs.baseUrl };
  process.stdout.write(`${JSON.stringify(addresses)}\n`);

  const close = async (): Promise<void> => {
    await Promise.all([stripe.close(), blackForestLabs.close()]);
    process.exit(0);
  };
  process.once('SIGTERM', () => void close());
  process.once('SIGINT', () => void close());
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(error instanceof UsageError ? USAGE_EXIT_CODE : 1);
}
