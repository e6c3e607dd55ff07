import { BFL_ACTIVE_TASKS_DEFAULT } from '../../platform/config/settings.js';
import type { Simulator } from './simulator.js';

export const blackForestLabsSimulator: Simulator = {
  name: 'black-forest-labs',
  isNeeded: (settings) => settings.blackForestLabs === null,
  start: async ({ log }, port) => {
    const { startSandboxBlackForestLabs } = await import('../../sandbox/black-forest-labs/server.js');
    // Any key without `invalid` in it is good, so that a newcomer can attach one of their own and see it refused, too.
    return startSandboxBlackForestLabs({ port, log });
  },
  configure: (settings, { blackForestLabsKey: apiKey }, apiBase) => ({
    ...settings,
    // As many as the stand-in allows, which is as many as the real one does.
    blackForestLabs: { apiKey, apiBase, activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT },
  }),
};
