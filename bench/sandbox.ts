import { spawn } from 'node:child_process';
import type { CleanUp } from './clean-up.js';
import { firstLine, stop, type Server } from './servers.js';
import { here } from './tools.js';

type Sandbox = { readonly stripe: string; readonly blackForestLabs: string; readonly pid: number };

/** Simulated Stripe, which delivers no webhooks by itself, and simulated Black Forest Labs, whose images are ready at once. */
export function startSandbox(cleanUp: CleanUp): Promise<Sandbox> {
  return start(cleanUp, ['--bfl-instant', '--bfl-unlimited']);
}

/** Simulated Black Forest Labs, with as many active tasks as the real one allows, each of which takes so long. */
export async function startProvider(cleanUp: CleanUp, latencyMs: number): Promise<Server> {
  const { blackForestLabs: url, pid } = await start(cleanUp, ['--bfl-latency-ms', `${latencyMs}`]);
  return { url, pid };
}

async function start(cleanUp: CleanUp, options: readonly string[]): Promise<Sandbox> {
  const args = [here('../packages/sandbox/dist/main.js'), ...options];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanUp.add(() => stop(child));
  const printed = JSON.parse(await firstLine(child, 'the sandbox')) as Record<string, string>;
  const { stripe_api_base: stripe, bfl_api_base: blackForestLabs } = printed;
  if (stripe === undefined || blackForestLabs === undefined) throw new Error('the sandbox named no address');
  return { stripe, blackForestLabs, pid: child.pid ?? Number.NaN };
}
