/** Runs `count-walk.ts` with every function of `src/` noting its file. */
import { register } from 'node:module';

register('./walk-hooks.mjs', import.meta.url);
