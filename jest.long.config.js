/** `npm run test:long`: what kills processes, plays long histories or waits, and every property on all of its cases. */
import { databaseProject, pureProject, RUN, WORKERS_OF_LONG_SPECS } from './test/runner/projects.mjs';

export default {
  ...RUN,
  maxWorkers: WORKERS_OF_LONG_SPECS,
  globalSetup: '<rootDir>/test/runner/bundle-setup.mjs',
  projects: [
    databaseProject('process', { testMatch: ['<rootDir>/test/process/**/*.spec.ts'] }),
    databaseProject('integration', {
      testMatch: ['<rootDir>/test/integration/**/*.{long,property}.spec.ts'],
    }),
    databaseProject('simulators', { testMatch: ['<rootDir>/test/simulators/**/*.spec.ts'] }),
    pureProject('unit', { testMatch: ['<rootDir>/test/unit/**/*.property.spec.ts'] }),
  ],
};
