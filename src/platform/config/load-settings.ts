import { existsSync } from 'node:fs';
import { readSettings, type Settings } from './settings.js';

const ENV_FILE = '.env';

/**
 * Returns the settings of this process: from the environment first, then from `.env` in the working directory for what
 * the environment does not set.
 *
 * @throws InvalidSettingsError naming every bad variable.
 */
export function loadSettings(): Settings {
  if (existsSync(ENV_FILE)) process.loadEnvFile(ENV_FILE);
  return readSettings(process.env);
}
