import { existsSync } from 'node:fs';
import { readSettings, type Settings } from './settings.js';

const ENV_FILE = '.env';

/**
 * Settings of this process: the environment first, then `.env` in the working directory for what the
 * environment leaves out.
 *
 * @throws InvalidSettingsError naming every bad variable.
 */
export function loadSettings(): Settings {
  if (existsSync(ENV_FILE)) process.loadEnvFile(ENV_FILE);
  return readSettings(process.env);
}
