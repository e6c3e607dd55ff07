import { type ArgumentMetadata, Injectable, type PipeTransform, type Type } from '@nestjs/common';
import {
  getMetadataStorage,
  validateSync,
  type ValidationArguments,
  type ValidationError,
  ValidationTypes,
  type ValidatorOptions,
} from 'class-validator';
import { TransformationType, type TransformFnParams } from 'class-transformer';
import { defaultMetadataStorage } from 'class-transformer/cjs/storage.js';
import { InvalidRequestError } from '../errors/common.errors.js';

/** Unknown fields are not a concern here: `RequestShape` has already refused the first one. */
const OPTIONS: ValidatorOptions = {
  stopAtFirstError: true,
  validationError: { target: false, value: false },
};

const PRIMITIVES: readonly unknown[] = [String, Boolean, Number, Array, Object];

/**
 * Reads the bodies and queries of every route into their DTO classes. The first wrong or unknown field is refused with a 400 that
 * names it in `param`: an unknown field is a client's typing error, and ignoring it would do something else than the client intended.
 * It works synchronously: no rule waits for anything, and Nest's own pipe would cost a money route several iterations of the event
 * loop.
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
 * Returns a body as an instance of its DTO class.
 *
 * @throws InvalidRequestError naming the first invalid field.
 */
export function readDto<T extends object>(dto: Type<T>, value: unknown): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InvalidRequestError('The body must be a JSON object.');
  }
  const instance = RequestShape.for(dto).instantiate(value) as T;
  if (getRules(dto)?.accept(instance) === true) return instance;
  const [error] = validateSync(instance, OPTIONS);
  if (error !== undefined) throw toProblem(error);
  return instance;
}

const compiled = new WeakMap<Type<object>, CompiledRules | null>();

function getRules(dto: Type<object>): CompiledRules | null {
  let rules = compiled.get(dto);
  if (rules === undefined) {
    rules = CompiledRules.compile(dto);
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

type ShapeField = {
  readonly transforms: readonly ((params: TransformFnParams) => unknown)[];
  /** The class of a member that is an object with fields of its own (`@ObjectField`). */
  readonly type: Type<object> | null;
};

/**
 * The members of one DTO class, and how they become its fields. It does the same for bodies as class-transformer's `plainToInstance`,
 * and ends at the first member that the class does not have. class-transformer copies everything that was sent, including unknown
 * members and the contents of wrong values, in a time that grows with the square of their number: one body of a megabyte took half a
 * minute.
 */
export class RequestShape {
  private static readonly known = new WeakMap<Type<object>, RequestShape>();

  static for(dto: Type<object>): RequestShape {
    let shape = RequestShape.known.get(dto);
    if (shape === undefined) {
      shape = new RequestShape(dto);
      RequestShape.known.set(dto, shape);
    }
    return shape;
  }

  private readonly fields: ReadonlyMap<string, ShapeField>;

  private constructor(private readonly dto: Type<object>) {
    const rules = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
    this.fields = new Map(rules.map(({ propertyName }) => [propertyName, describeField(dto, propertyName)]));
  }

  /**
   * Returns a body or a query as an instance whose values are not validated yet.
   *
   * @param path the position of the object within the body, with a dot at its end; empty for the body itself.
   * @throws InvalidRequestError naming the first unknown member.
   */
  instantiate(body: object, path = ''): object {
    const instance = new this.dto() as Record<string, unknown>;
    for (const name in body) {
      const field = this.fields.get(name);
      if (field === undefined) throw createUnknownFieldError(path + name);
      instance[name] = readValue(field, body as Record<string, unknown>, name, path);
    }
    return instance;
  }
}

function readValue(
  { transforms, type }: ShapeField,
  body: Record<string, unknown>,
  name: string,
  path: string,
): unknown {
  let value = body[name];
  for (const transform of transforms) {
    value = transform({ value, key: name, obj: body, type: TransformationType.PLAIN_TO_CLASS, options: {} });
  }
  if (type === null || typeof value !== 'object' || value === null) return value;
  // class-validator would validate each item as such an object.
  if (Array.isArray(value)) throw new InvalidRequestError(`${path}${name} must be an object.`, path + name);
  return RequestShape.for(type).instantiate(value, `${path}${name}.`);
}

function describeField(dto: Type<object>, name: string): ShapeField {
  const nested = defaultMetadataStorage.findTypeMetadata(dto, name) as
    { readonly typeFunction: () => unknown } | undefined;
  return {
    transforms: defaultMetadataStorage
      .findTransformMetadatas(dto, name, TransformationType.PLAIN_TO_CLASS)
      .map(({ transformFn }) => transformFn),
    type: nested === undefined ? null : (nested.typeFunction() as Type<object>),
  };
}

function createUnknownFieldError(param: string): InvalidRequestError {
  const shown = shorten(param);
  return new InvalidRequestError(`Unknown field '${shown}'. Nothing was charged.`, shown);
}

/** The name of an unknown field is the client's own text, which the answer repeats up to this length. */
const PARAM_LENGTH_MAX = 100;

function shorten(text: string): string {
  return text.length > PARAM_LENGTH_MAX ? `${text.slice(0, PARAM_LENGTH_MAX)}…` : text;
}

type Rule = {
  /** It is created once and filled in for each value: class-validator's own rules read it while they run, and keep nothing. */
  readonly args: ValidationArguments;
  readonly validate: (value: unknown, args: ValidationArguments) => unknown;
};

type CheckedField = {
  readonly name: string;
  /** The field is checked only if all of these return true (`@IsOptional`). */
  readonly conditions: readonly ((object: object, value: unknown) => boolean)[];
  readonly rules: readonly Rule[];
};

/**
 * The rules of one DTO class, looked up once. class-validator looks them up again for every object, among the rules of every class of
 * the service, and prepares errors that almost no body has: a tenth of the time of a whole request on a money route. This class only
 * finds out that an object is valid; for an invalid one, class-validator determines the error.
 */
export class CompiledRules {
  private readonly fields: readonly CheckedField[];

  private constructor(private readonly known: ReadonlyMap<string, CheckedField>) {
    this.fields = [...known.values()];
  }

  /** Returns null for a class with rules of a kind that is not compiled (nested, per item, asynchronous, grouped). */
  static compile(dto: Type<object>): CompiledRules | null {
    const storage = getMetadataStorage();
    const fields = new Map<
      string,
      { name: string; conditions: CheckedField['conditions'][number][]; rules: Rule[] }
    >();
    for (const metadata of storage.getTargetValidationMetadatas(dto, '', false, false)) {
      const name = metadata.propertyName;
      const field = fields.get(name) ?? { name, conditions: [], rules: [] };
      fields.set(name, field);
      const groups = metadata.groups as readonly string[] | undefined;
      if (metadata.each || groups?.length || metadata.validateIf) return null;
      if (metadata.type === ValidationTypes.CONDITIONAL_VALIDATION) {
        field.conditions.push(metadata.constraints[0] as CheckedField['conditions'][number]);
        continue;
      }
      const constraints = storage.getTargetValidatorConstraints(metadata.constraintCls);
      if (metadata.type !== ValidationTypes.CUSTOM_VALIDATION || constraints.some(({ async }) => async))
        return null;
      for (const { instance } of constraints) {
        const constraints = (metadata.constraints as unknown[] | undefined) ?? [];
        field.rules.push({
          args: { value: undefined, object: {}, property: name, targetName: dto.name, constraints },
          validate: (value, args) => instance.validate(value, args),
        });
      }
    }
    return fields.size === 0 ? null : new CompiledRules(fields);
  }

  /** Returns whether the object has no unknown member and satisfies all rules. */
  accept(object: object): boolean {
    for (const name of Object.keys(object)) if (!this.known.has(name)) return false;
    return this.fields.every((field) => this.acceptField(object, field));
  }

  private acceptField(object: object, { name, conditions, rules }: CheckedField): boolean {
    const value = (object as Record<string, unknown>)[name];
    for (const isWanted of conditions) if (!isWanted(object, value)) return true;
    for (const { args, validate } of rules) {
      args.value = value;
      args.object = object;
      // A promise is not `true`, so class-validator decides about it.
      if (validate(value, args) !== true) return false;
    }
    return true;
  }
}
