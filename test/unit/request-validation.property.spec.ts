import 'reflect-metadata';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { plainToInstance } from 'class-transformer';
import { getMetadataStorage, validateSync } from 'class-validator';
import fc from 'fast-check';
import { CompiledRules, RequestShape, readDto } from '../../src/platform/http/validation.pipe.js';
import { InvalidRequestError } from '../../src/platform/errors/common.errors.js';
import { casesFor, checkProperty } from '../support/property.js';

type Dto = new () => object;

/** The options of class-validator in `validation.pipe.ts`. */
const OPTIONS = { whitelist: true, forbidNonWhitelisted: true, stopAtFirstError: true };

/** Wrong values that clients send, in addition to values that are right somewhere. */
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
      const rules = CompiledRules.compile(dto);
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

  it('become the same objects as class-transformer makes of them, where they are accepted', async () => {
    let [made, accepted] = [0, 0];
    for (const dto of dtos.values()) {
      const same = fc.property(
        fc.dictionary(fc.constantFrom(...fieldsOf(dto)), value, { maxKeys: 8 }),
        (body) => {
          const text = JSON.stringify(body);
          // Two of the same text: what a transform of one might change, the other keeps.
          const instance = instanceOf(dto, JSON.parse(text) as object);
          if (instance === null) return;
          made += 1;
          const expected = plainToInstance(dto, JSON.parse(text) as object);
          const isAccepted = validateSync(instance, OPTIONS).length === 0;
          expect(isAccepted).toBe(validateSync(expected, OPTIONS).length === 0);
          if (!isAccepted) return;
          accepted += 1;
          // Of a value that is refused we keep the inside as it was sent; class-transformer copies most of it.
          expect(instance).toStrictEqual(expected);
        },
      );
      await checkProperty(`objects of ${dto.name}`, same, { runs: 300 });
    }
    expect(made).toBeGreaterThan(casesFor(1_000));
    expect(accepted).toBeGreaterThan(casesFor(300));
  });

  it('with unknown members are refused at the first one: the others are never read, however many there are', () => {
    for (const dto of dtos.values()) {
      const [known = ''] = fieldsOf(dto);
      for (const count of [10, 5_000]) {
        const visits = new Visits();
        const strangers = Object.fromEntries(
          Array.from({ length: count }, (_each, index) => [`stranger${index}`, {}]),
        );
        expect(() => readDto(dto, visits.of(strangers))).toThrow("Unknown field 'stranger0'");
        expect(visits.values).toBe(0);
        // The same applies to an object in place of a value: its members are never read.
        const inside = new Visits();
        expect(() => readDto(dto, { [known]: inside.of(strangers) })).toThrow();
        expect({ dto: dto.name, values: Math.min(inside.values, 10) }).toEqual({
          dto: dto.name,
          values: inside.values,
        });
      }
    }
  });

  it('with a list in place of a word or an object read each of its items a bounded number of times', () => {
    for (const dto of dtos.values()) {
      for (const name of fieldsOf(dto)) {
        const visitsOf = (count: number): number => {
          const visits = new Visits();
          try {
            readDto(dto, {
              [name]: visits.of(Array.from({ length: count }, (_each, index) => `word ${index}`)),
            });
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidRequestError);
          }
          return visits.values;
        };
        const [few, many] = [visitsOf(100), visitsOf(10_000)];
        expect({ dto: dto.name, name, linear: many <= 100 * (few + 20) }).toEqual({
          dto: dto.name,
          name,
          linear: true,
        });
      }
    }
  });

  it('of the busiest routes are read by compiled rules', () => {
    for (const name of ['ChargeRequest', 'HoldRequest', 'CaptureRequest']) {
      const dto = dtos.get(name);
      expect({ name, compiled: dto !== undefined && CompiledRules.compile(dto) !== null }).toEqual({
        name,
        compiled: true,
      });
    }
  });
});

/** Null when a nested member is unknown, or when a list is in place of an object. */
function instanceOf(dto: Dto, body: object): object | null {
  try {
    return RequestShape.for(dto).instantiate(body);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidRequestError);
    return null;
  }
}

/** Counts how often the members or items of an object are read. */
class Visits {
  values = 0;

  of<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (object, name, receiver): unknown => {
        if (typeof name === 'string' && Object.hasOwn(object, name) && name !== 'length') this.values += 1;
        return Reflect.get(object, name, receiver);
      },
    });
  }
}

function fieldsOf(dto: Dto): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}
