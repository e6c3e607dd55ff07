import 'reflect-metadata';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { plainToInstance } from 'class-transformer';
import { getMetadataStorage, validateSync } from 'class-validator';
import fc from 'fast-check';
import { CompiledRules } from '../../src/http/compiled-rules.js';
import { casesFor, checkProperty } from '../support/property.js';

type Dto = new () => object;

/** What class-validator itself is told in `validation.pipe.ts`. */
const OPTIONS = { whitelist: true, forbidNonWhitelisted: true, stopAtFirstError: true };

/** What clients send where they should not, beside values that are right somewhere. */
const value = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    undefined,
    true,
    '',
    ' ',
    '0',
    '-1',
    '1',
    '1.5',
    '40000',
    '1e3',
    'NaN',
    '\u0000',
    [],
    {},
  ),
  fc.constantFrom<unknown>(
    0,
    1,
    -1,
    1.5,
    1e21,
    10,
    1_000,
    100_000_000_000_000,
    'generate',
    'debits',
    'on_top',
  ),
  fc.constantFrom<unknown>(
    'acct_01KB2H7Q0000000000000000AA',
    'black-forest-labs/flux-2-klein-9b',
    '1024x1024',
    'url',
  ),
  fc.constantFrom<unknown>(['generate'], ['generate', 'generate'], ['nonsense'], [1], ['admin', 'debits']),
  fc.string({ maxLength: 300 }),
  fc.integer(),
  fc.double(),
  fc.anything(),
);

const dtos = new Map<string, Dto>();
beforeAll(async () => {
  // Every class with rules, whichever module it belongs to.
  await import('../../src/app.module.js');
  const storage = getMetadataStorage() as unknown as { validationMetadatas: Map<Dto, unknown> };
  for (const dto of storage.validationMetadatas.keys()) dtos.set(dto.name, dto);
});

describe('request bodies', () => {
  it('are accepted by the compiled rules exactly when class-validator accepts them, for every request class', async () => {
    expect(dtos.size).toBeGreaterThan(10);
    let accepted = 0;
    for (const dto of dtos.values()) {
      const rules = CompiledRules.of(dto);
      if (rules === null) continue;
      const body = fc.dictionary(
        fc.oneof(fc.constantFrom(...fieldsOf(dto)), fc.constant('stranger')),
        value,
        {
          maxKeys: 8,
        },
      );
      const agree = fc.property(body, (plain) => {
        const instance = plainToInstance(dto, plain);
        const isAccepted = rules.accept(instance);
        if (isAccepted) accepted += 1;
        expect(isAccepted).toBe(validateSync(instance, OPTIONS).length === 0);
      });
      await checkProperty(`compiled rules of ${dto.name}`, agree, { runs: 300 });
    }
    // The bodies are not all nonsense.
    expect(accepted).toBeGreaterThan(casesFor(50));
  });

  it('become the same objects as class-transformer makes of them, where the compiled rules make any', async () => {
    let made = 0;
    for (const dto of dtos.values()) {
      const rules = CompiledRules.of(dto);
      if (rules === null) continue;
      const keys = fc.oneof(fc.constantFrom(...fieldsOf(dto)), fc.constant('stranger'));
      const same = fc.property(fc.dictionary(keys, value, { maxKeys: 8 }), (plain) => {
        const instance = rules.instantiate(plain);
        if (instance === null) return;
        made += 1;
        const expected: unknown = plainToInstance(dto, plain);
        expect(instance).toStrictEqual(expected);
      });
      await checkProperty(`objects of ${dto.name}`, same, { runs: 300 });
    }
    expect(made).toBeGreaterThan(casesFor(1_000));
  });

  it('of the busiest routes are read by compiled rules', () => {
    for (const name of ['ChargeRequest', 'HoldRequest', 'CaptureRequest']) {
      const dto = dtos.get(name);
      expect({ name, compiled: dto !== undefined && CompiledRules.of(dto) !== null }).toEqual({
        name,
        compiled: true,
      });
    }
  });
});

function fieldsOf(dto: Dto): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}
