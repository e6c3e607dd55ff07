import { join } from 'node:path';
import type { Simulator } from './simulator.js';

export const stripeSimulator: Simulator = {
  name: 'stripe',
  isNeeded: (settings) => settings.stripe === null,
  start: async ({ settings, secrets, directory, log }, port) => {
    const { startSandboxStripe } = await import('../../sandbox/stripe/server.js');
    return startSandboxStripe({
      port,
      log,
      stateFile: join(directory, 'stripe.json'),
      apiKey: secrets.stripeSecretKey,
      webhookEndpoint: {
        // This is not the public URL, because the simulator delivers on this machine only.
        url: `http://127.0.0.1:${settings.port}/webhooks/stripe`,
        secret: secrets.stripeWebhookSecret,
      },
    });
  },
  configure: (settings, { stripeSecretKey, stripeWebhookSecret }, apiBase) => ({
    ...settings,
    stripe: { secretKey: stripeSecretKey, webhookSecret: stripeWebhookSecret, apiBase },
  }),
};
