/** jest's globalSetup of the long tests, which start programs as processes; `global-setup.mjs` is that of all others. */
import '../support/typescript.mjs';
import { bundlePrograms } from '../support/process/bundle-programs.mjs';

export default async function setup() {
  const { PROGRAMS_VARIABLE } = await import('../support/process/program-arguments.ts');
  process.env[PROGRAMS_VARIABLE] = await bundlePrograms();
}
