import { spawn } from 'node:child_process';
import type { CleanUp } from './clean-up.js';
import { firstLine, stop } from './servers.js';
import { here } from './tools.js';

/** Simulated Stripe, which delivers no webhooks by itself, and simulated Black Forest Labs, whose images are ready at once. */
export async function startSandbox(
  cleanUp: CleanUp,
): Promise<{ readonly stripe: string; readonly blackForestLabs: string }> {
  const args = [here('../dist/sandbox/main.js'), '--bfl-instant', '--bfl-unlimited'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanUp.add(() => stop(child));
  const printed = JSON.parse(await firstLine(child, 'the sandbox')) as Record<string, string>;
  const { stripe_api_base: stripe, bfl_api_base: blackForestLabs } = printed;
  if (stripe === undefined || blackForestLabs === undefined) throw new Error('the sandbox named no address');
  return { stripe, blackForestLabs };
}
