/** `npm test`: what every change runs again and again. `jest.long.config.js` has the rest. */
import { databaseProject, pureProject, RUN, WORKERS_OF_WAITING_SPECS } from './test/runner/projects.mjs';

// A property is tried on a quarter of its cases here, on all of them by `npm run test:long`.
process.env.PROPERTY_RUNS ??= '0.25';

export default {
  ...RUN,
  maxWorkers: WORKERS_OF_WAITING_SPECS,
  projects: [
    pureProject('unit', { testMatch: ['<rootDir>/test/unit/**/*.spec.ts'] }),
    databaseProject('integration', {
      testMatch: ['<rootDir>/test/integration/**/*.spec.ts'],
      testPathIgnorePatterns: ['\\.long\\.spec\\.ts$'],
    }),
  ],
};
