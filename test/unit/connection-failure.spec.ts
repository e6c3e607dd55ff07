import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { DatabaseError } from 'pg';
import { DataSource } from 'typeorm';
import { asPostgresError, isConnectionFailure } from '../../src/platform/database/constraints.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';

function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall });
}

function postgresError(code: string): Error {
  return Object.assign(new DatabaseError('refused', 0, 'error'), { code, severity: 'ERROR' });
}

/** One message of Postgres' protocol: its type, its length, its content. */
function message(type: string, content: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(content.length + 4);
  return Buffer.concat([Buffer.from(type), length, content]);
}

/** What a backend says whose postmaster was killed while it was being connected to: come in, and get out. */
const LAST_WORDS = Buffer.concat([
  message('R', Buffer.alloc(4)),
  message('Z', Buffer.from('I')),
  message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0')),
]);

describe('a lost connection', () => {
  it('is an error of the next query, and no end of the process, when it breaks as soon as it is open', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end(LAST_WORDS));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const options = applicationDataSourceOptions(`postgres://coffer:secret@127.0.0.1:${port}/coffer`, 1);
    const failure: unknown = await new DataSource(options).initialize().catch((error: unknown) => error);
    expect(isConnectionFailure(failure)).toBe(true);
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    ['ECONNRESET', systemError('ECONNRESET', 'read')],
    ['ECONNREFUSED', systemError('ECONNREFUSED', 'connect')],
    // Five capital letters, as Postgres' own codes have.
    ['EPIPE', systemError('EPIPE', 'write')],
    ['25P03', postgresError('25P03')],
    ['57P01', postgresError('57P01')],
    ['57P03', postgresError('57P03')],
    ['53300', postgresError('53300')],
    ['no code', new Error('Connection terminated unexpectedly')],
  ])('is distinguished from a refusal: %s is one', (_code, error) => {
    expect(isConnectionFailure(error)).toBe(true);
    // As TypeORM passes it on.
    expect(isConnectionFailure(Object.assign(new Error('failed'), { driverError: error }))).toBe(true);
  });

  it.each(['23505', '25P02', '40P01', '42P01', '55P03'])(
    'is distinguished from a refusal: %s is none',
    (code) => {
      expect(isConnectionFailure(postgresError(code))).toBe(false);
      expect(asPostgresError(postgresError(code))?.code).toBe(code);
    },
  );
});
