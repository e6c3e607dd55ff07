import { describe, expect, it } from '@jest/globals';
import { DatabaseError } from 'pg';
import { asPostgresError, isConnectionFailure } from '../../src/database/constraints.js';

function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall });
}

function postgresError(code: string): Error {
  return Object.assign(new DatabaseError('refused', 0, 'error'), { code, severity: 'ERROR' });
}

describe('a lost connection', () => {
  it.each([
    systemError('ECONNRESET', 'read'),
    systemError('ECONNREFUSED', 'connect'),
    // Five capital letters, as Postgres' own codes have.
    systemError('EPIPE', 'write'),
    postgresError('57P01'),
    postgresError('57P03'),
    postgresError('53300'),
    new Error('Connection terminated unexpectedly'),
  ])('is told from a refusal: %s is one', (error) => {
    expect(isConnectionFailure(error)).toBe(true);
    // As TypeORM passes it on.
    expect(isConnectionFailure(Object.assign(new Error('failed'), { driverError: error }))).toBe(true);
  });

  it.each(['23505', '40P01', '42P01', '55P03'])('is told from a refusal: %s is none', (code) => {
    expect(isConnectionFailure(postgresError(code))).toBe(false);
    expect(asPostgresError(postgresError(code))?.code).toBe(code);
  });
});
