import type { Type } from '@nestjs/common';
import { getMetadataStorage, ValidationTypes, type ValidationArguments } from 'class-validator';

type Rule = {
  /** Made once and filled in for each value: class-validator's own rules look at it while they run and keep nothing. */
  readonly args: ValidationArguments;
  readonly validate: (value: unknown, args: ValidationArguments) => unknown;
};

type Field = {
  readonly name: string;
  /** The field is looked at when all of these say so (`@IsOptional`). */
  readonly conditions: readonly ((object: object, value: unknown) => boolean)[];
  readonly rules: readonly Rule[];
};

/**
 * The rules of one DTO class, looked up once. class-validator looks them up again for every object, among the
 * rules of every class of the service, and prepares errors that almost no body has; on a money route that is
 * a tenth of the whole request. This only answers "all is well"; what is wrong, class-validator says itself.
 */
export class CompiledRules {
  private readonly fields: readonly Field[];

  private constructor(private readonly known: ReadonlyMap<string, Field>) {
    this.fields = [...known.values()];
  }

  /** Null for a class whose rules are of a kind that is not compiled (nested, per item, asynchronous, grouped). */
  static of(dto: Type<object>): CompiledRules | null {
    const storage = getMetadataStorage();
    const fields = new Map<
      string,
      { name: string; conditions: Field['conditions'][number][]; rules: Rule[] }
    >();
    for (const metadata of storage.getTargetValidationMetadatas(dto, '', false, false)) {
      const name = metadata.propertyName;
      const field = fields.get(name) ?? { name, conditions: [], rules: [] };
      fields.set(name, field);
      const groups = metadata.groups as readonly string[] | undefined;
      if (metadata.each || groups?.length || metadata.validateIf) return null;
      if (metadata.type === ValidationTypes.CONDITIONAL_VALIDATION) {
        field.conditions.push(metadata.constraints[0] as Field['conditions'][number]);
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

  /** True when the object has no unknown member and no rule objects. */
  accept(object: object): boolean {
    for (const name of Object.keys(object)) if (!this.known.has(name)) return false;
    return this.fields.every((field) => this.acceptField(object, field));
  }

  private acceptField(object: object, { name, conditions, rules }: Field): boolean {
    const value = (object as Record<string, unknown>)[name];
    for (const isWanted of conditions) if (!isWanted(object, value)) return true;
    for (const { args, validate } of rules) {
      args.value = value;
      args.object = object;
      // A promise is no `true`: it is left to class-validator.
      if (validate(value, args) !== true) return false;
    }
    return true;
  }
}
