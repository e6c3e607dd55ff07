import { type ArgumentMetadata, Injectable, type PipeTransform, type Type } from '@nestjs/common';
import { plainToInstance } from 'class-transformer';
import { validateSync, type ValidationError, type ValidatorOptions } from 'class-validator';
import { InvalidRequestError } from '../problems/common.errors.js';
import { CompiledRules } from './compiled-rules.js';

/** A field that we do not know is a client's typing error; ignoring it would do something else than was asked. */
const OPTIONS: ValidatorOptions = {
  whitelist: true,
  forbidNonWhitelisted: true,
  stopAtFirstError: true,
  validationError: { target: false, value: false },
};

const UNKNOWN_FIELD = 'whitelistValidation';
const PRIMITIVES: readonly unknown[] = [String, Boolean, Number, Array, Object];

/**
 * Reads the bodies and queries of every route into their DTO classes; the first wrong or unknown field is a
 * 400 that names it in `param`. It does so synchronously: none of our rules waits for anything, and Nest's
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
  const rules = rulesOf(dto);
  const instance = (rules?.instantiate(value) as T | null | undefined) ?? toInstance(dto, value);
  if (rules?.accept(instance) === true) return instance;
  const [error] = validateSync(instance, OPTIONS);
  if (error !== undefined) throw toProblem(error);
  return instance;
}

/** class-transformer takes a member of this name, however deep, for the object's class, and fails to make one of it. */
const CONSTRUCTOR = 'constructor';

function toInstance<T extends object>(dto: Type<T>, value: object): T {
  if (Object.hasOwn(value, CONSTRUCTOR)) throw unknownField(CONSTRUCTOR);
  try {
    return plainToInstance(dto, value);
  } catch (error) {
    throw namesConstructor(value) ? unknownField(CONSTRUCTOR) : error;
  }
}

function namesConstructor(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.hasOwn(value, CONSTRUCTOR) || Object.values(value).some(namesConstructor);
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
  const [rule, message] = Object.entries(error.constraints ?? {})[0] ?? [];
  if (rule === UNKNOWN_FIELD) return unknownField(shorten(param));
  return new InvalidRequestError(`${withoutFullStop(message ?? `${param} is invalid`)}.`, param);
}

function unknownField(param: string): InvalidRequestError {
  return new InvalidRequestError(`Unknown field '${param}'. Nothing was charged.`, param);
}

/** An unknown field's name is the client's own text; it comes back, but not a megabyte of it. */
const PARAM_LENGTH_MAX = 100;

function shorten(text: string): string {
  return text.length > PARAM_LENGTH_MAX ? `${text.slice(0, PARAM_LENGTH_MAX)}…` : text;
}

function withoutFullStop(text: string): string {
  return text.endsWith('.') ? text.slice(0, -1) : text;
}
