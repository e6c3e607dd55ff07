import type { Type } from '@nestjs/common';
import { TransformationType, type TransformFnParams } from 'class-transformer';
import { defaultMetadataStorage } from 'class-transformer/cjs/storage.js';
import { getMetadataStorage } from 'class-validator';
import { InvalidRequestError } from '../errors/common.errors.js';

type Field = {
  readonly transforms: readonly ((params: TransformFnParams) => unknown)[];
  /** Of a member that is an object with fields of its own (`@ObjectField`). */
  readonly type: Type<object> | null;
};

/**
 * Which members one DTO class has, and how they become its fields. It does for bodies what class-transformer's
 * `plainToInstance` does, and ends at the first member that the class does not have. class-transformer copies everything
 * that was sent, unknown members and the insides of wrong values included, in a time that grows with the square of their
 * number: one body of a megabyte took half a minute.
 */
export class RequestShape {
  private static readonly known = new WeakMap<Type<object>, RequestShape>();

  static of(dto: Type<object>): RequestShape {
    let shape = RequestShape.known.get(dto);
    if (shape === undefined) {
      shape = new RequestShape(dto);
      RequestShape.known.set(dto, shape);
    }
    return shape;
  }

  private readonly fields: ReadonlyMap<string, Field>;

  private constructor(private readonly dto: Type<object>) {
    const rules = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
    this.fields = new Map(rules.map(({ propertyName }) => [propertyName, fieldOf(dto, propertyName)]));
  }

  /**
   * A body or a query as an instance, its values not validated yet.
   *
   * @param path of the object within the body, with a dot at its end; empty for the body itself.
   * @throws InvalidRequestError naming the first unknown member.
   */
  instantiate(body: object, path = ''): object {
    const instance = new this.dto() as Record<string, unknown>;
    for (const name in body) {
      const field = this.fields.get(name);
      if (field === undefined) throw unknownField(path + name);
      instance[name] = valueOf(field, body as Record<string, unknown>, name, path);
    }
    return instance;
  }
}

function valueOf(
  { transforms, type }: Field,
  body: Record<string, unknown>,
  name: string,
  path: string,
): unknown {
  let value = body[name];
  for (const transform of transforms) {
    value = transform({ value, key: name, obj: body, type: TransformationType.PLAIN_TO_CLASS, options: {} });
  }
  if (type === null || typeof value !== 'object' || value === null) return value;
  // class-validator would take each item for an object to validate.
  if (Array.isArray(value)) throw new InvalidRequestError(`${path}${name} must be an object.`, path + name);
  return RequestShape.of(type).instantiate(value, `${path}${name}.`);
}

function fieldOf(dto: Type<object>, name: string): Field {
  const nested = defaultMetadataStorage.findTypeMetadata(dto, name) as
    { readonly typeFunction: () => unknown } | undefined;
  return {
    transforms: defaultMetadataStorage
      .findTransformMetadatas(dto, name, TransformationType.PLAIN_TO_CLASS)
      .map(({ transformFn }) => transformFn),
    type: nested === undefined ? null : (nested.typeFunction() as Type<object>),
  };
}

function unknownField(param: string): InvalidRequestError {
  const shown = shorten(param);
  return new InvalidRequestError(`Unknown field '${shown}'. Nothing was charged.`, shown);
}

/** An unknown field's name is the client's own text; it comes back, but not a megabyte of it. */
const PARAM_LENGTH_MAX = 100;

function shorten(text: string): string {
  return text.length > PARAM_LENGTH_MAX ? `${text.slice(0, PARAM_LENGTH_MAX)}…` : text;
}
