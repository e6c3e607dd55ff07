/**
 * Lets plain Node run the TypeScript sources, compiled as jest compiles them: for what jest loads without its
 * transform, and for processes that a test starts in order to kill them.
 *
 *   node --import ./test/support/typescript.mjs src/main.ts
 */
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
