import type { StandIn } from './stand-in.js';

export const blackForestLabsStandIn: StandIn = {
  name: 'black-forest-labs',
  isNeeded: (settings) => settings.blackForestLabs === null,
  start: async ({ secrets, log }, port) => {
    const { startSandboxBlackForestLabs } = await import('../sandbox/black-forest-labs/server.js');
    return startSandboxBlackForestLabs({ port, log, apiKey: secrets.blackForestLabsKey });
  },
  configure: (settings, { blackForestLabsKey: apiKey }, apiBase) => ({
    ...settings,
    blackForestLabs: { apiKey, apiBase },
  }),
};
