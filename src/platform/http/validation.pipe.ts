import { type ArgumentMetadata, Injectable, type PipeTransform, type Type } from '@nestjs/common';
import { validateSync, type ValidationError, type ValidatorOptions } from 'class-validator';
import { InvalidRequestError } from '../errors/common.errors.js';
import { CompiledRules } from './compiled-rules.js';
import { RequestShape } from './request-shape.js';

/** Unknown fields never come this far: `RequestShape` refuses the first one. */
const OPTIONS: ValidatorOptions = {
  stopAtFirstError: true,
  validationError: { target: false, value: false },
};

const PRIMITIVES: readonly unknown[] = [String, Boolean, Number, Array, Object];

/**
 * Reads the bodies and queries of every route into their DTO classes; the first wrong or unknown field is a
 * 400 that names it in `param`: a field that we do not know is a client's typing error, and ignoring it would do something
 * else than was asked. It does so synchronously: none of our rules waits for anything, and Nest's
 * own pipe would cost a money route several turns of the event loop.
 */
@Injectable()
export class RequestValidationPipe implements PipeTransform {
  transform(value: unknown, metadata: ArgumentMetadata): unknown {
    const { metatype, type } = metadata;
    if ((type !== 'body' && type !== 'query') || metatype === undefined) return value;
    if (metadata.data !== undefined || PRIMITIVES.includes(metatype)) return value;
    return readDto(metatype as Type<object>, value ?? {});
  }
}

/**
 * One body as an instance of its DTO class.
 *
 * @throws InvalidRequestError naming the first field at fault.
 */
export function readDto<T extends object>(dto: Type<T>, value: unknown): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InvalidRequestError('The body must be a JSON object.');
  }
  const instance = RequestShape.of(dto).instantiate(value) as T;
  if (rulesOf(dto)?.accept(instance) === true) return instance;
  const [error] = validateSync(instance, OPTIONS);
  if (error !== undefined) throw toProblem(error);
  return instance;
}

const compiled = new WeakMap<Type<object>, CompiledRules | null>();

function rulesOf(dto: Type<object>): CompiledRules | null {
  let rules = compiled.get(dto);
  if (rules === undefined) {
    rules = CompiledRules.of(dto);
    compiled.set(dto, rules);
  }
  return rules;
}

function toProblem(error: ValidationError, path = ''): InvalidRequestError {
  const param = path === '' ? error.property : `${path}.${error.property}`;
  const [child] = error.children ?? [];
  if (error.constraints === undefined && child !== undefined) return toProblem(child, param);
  const [message] = Object.values(error.constraints ?? {});
  return new InvalidRequestError(`${withoutFullStop(message ?? `${param} is invalid`)}.`, param);
}

function withoutFullStop(text: string): string {
  return text.endsWith('.') ? text.slice(0, -1) : text;
}
