import { resolve } from 'node:path';
import type { Logger } from 'pino';
import type { RunningService } from './start-service.js';

/** Reports where the service is: in production as one log line, elsewhere as text for a person. */
export function describeStart(service: RunningService, log: Logger): void {
  const { url, settings, simulated, demoFile, notices } = service;
  for (const notice of notices) log.warn({ event: 'provider.configuration_gap' }, notice);
  log.info(
    { event: 'service.started', url, environment: settings.environment, simulated },
    'Coffer is ready',
  );
  if (settings.environment !== 'development') return;
  const lines = [
    '',
    `  Coffer is ready at ${url}`,
    `  Try the API in your browser: ${url}/docs`,
    ...sandboxLines(simulated, demoFile),
    ...(demoFile === null ? operatorLines(settings.dataDir) : []),
    ...notices.flatMap((notice) => ['', `  ${notice}`]),
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function sandboxLines(simulated: readonly string[], demoFile: string | null): string[] {
  if (simulated.length === 0) return [];
  return [
    '',
    `  Sandbox: ${simulated.join(', ')}. No real money moves and no real images are made by these.`,
    ...(demoFile === null ? [] : [`  A demo account with its keys: ${resolve(demoFile)}`]),
  ];
}

/** The demo account's file has the key as well; without this file a newcomer would not know where to begin. */
function operatorLines(dataDir: string): string[] {
  const file = resolve(dataDir, 'secrets.json');
  return ['', `  The first operator key: COFFER_OPERATOR_KEY, or "operator_key" in ${file}`];
}
