import { BFL_ACTIVE_TASKS_DEFAULT } from '../../platform/config/settings.js';
import type { Simulator } from './simulator.js';

export const blackForestLabsSimulator: Simulator = {
  name: 'black-forest-labs',
  isNeeded: (settings) => settings.blackForestLabs === null,
  start: async ({ log }, port) => {
    const { startSandboxBlackForestLabs } = await import('../../sandbox/black-forest-labs/server.js');
    // Every key without `invalid` in it is accepted, so that a newcomer can attach their own and also see one refused.
    return startSandboxBlackForestLabs({ port, log });
  },
  configure: (settings, { blackForestLabsKey: apiKey }, apiBase) => ({
    ...settings,
    // The simulator allows as many as the real API does.
    blackForestLabs: { apiKey, apiBase, activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT },
  }),
};
