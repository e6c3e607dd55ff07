import { describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { createLogger, NestLogger } from '../../src/platform/logging/logger.js';

function log(write: (logger: Logger) => void): Record<string, unknown> {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  Logger.overrideLogger(new NestLogger(createLogger('debug', { stream })));
  try {
    write(new Logger('Clock'));
  } finally {
    Logger.overrideLogger(false);
  }
  const [line = '{}'] = lines;
  return JSON.parse(line) as Record<string, unknown>;
}

describe('a line of the log', () => {
  it('has the event, its fields, the error and the message', () => {
    const error = new Error('no route to host');
    const line = log((logger) => {
      logger.warn({ event: 'clock.read_failed', attempt: 2, err: error }, 'The clock could not be read');
    });
    expect(line).toMatchObject({
      event: 'clock.read_failed',
      attempt: 2,
      err: { message: 'no route to host' },
      msg: 'The clock could not be read',
      context: 'Clock',
    });
  });

  it('has the text alone where there are no fields', () => {
    expect(log((logger) => logger.log('The clock was read'))).toMatchObject({
      msg: 'The clock was read',
      context: 'Clock',
    });
  });
});
