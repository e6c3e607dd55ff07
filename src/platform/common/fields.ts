import { applyDecorators } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { Transform, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
  MinLength,
  ValidateBy,
  ValidateNested,
  type ValidationOptions,
} from 'class-validator';
import { MAX_AMOUNT_MICROS, negate, parseMicros } from './money.js';

/**
 * Each field has one decorator for its validation and its documentation, so that they cannot differ.
 * Request fields validate; `…View` decorators only document answers.
 */
type FieldOptions = {
  readonly description: string;
  readonly example?: unknown;
  readonly optional?: boolean;
};

function field(options: FieldOptions, schema: object, ...validators: PropertyDecorator[]): PropertyDecorator {
  const required = options.optional !== true;
  return applyDecorators(
    ApiProperty({
      description: options.description,
      required,
      ...(options.example === undefined ? {} : { example: options.example }),
      ...schema,
    }),
    ...validators,
    ...(required ? [] : [IsOptional()]),
  );
}

/**
 * Text that a person typed: not trimmed, limited in length, and without what Postgres cannot store unchanged: NUL,
 * which it refuses, and half of a surrogate pair, which would be stored as a character that differs from the hashed one.
 */
export function TextField(
  options: FieldOptions & { max: number; min?: number; pattern?: RegExp },
): PropertyDecorator {
  const min = options.min ?? 1;
  return field(
    options,
    { type: 'string', minLength: min, maxLength: options.max },
    IsString(),
    MinLength(min),
    MaxLength(options.max),
    Matches(options.pattern ?? STORABLE, { message: '$property has characters that are not allowed' }),
  );
}

// eslint-disable-next-line no-control-regex -- NUL is exactly the character to refuse
const STORABLE = /^[^\u0000\p{Cs}]*$/u;

/**
 * A name of up to 200 characters, on one line and displayed in the order in which it is stored, because names appear in lists,
 * exports and logs. Control characters, line separators and invisible format characters are refused, above all those that change
 * the direction of the text: with U+202E, `evil\u202Egnp.exe` reads as another name. The two joiners (U+200C, U+200D) are allowed:
 * Persian, the languages of India and many emoji are written with them, and they move nothing.
 */
export function NameField(options: FieldOptions): PropertyDecorator {
  return TextField({ ...options, max: NAME_LENGTH_MAX, pattern: NAME_PATTERN });
}

/** The columns' checks have the same limit. */
const NAME_LENGTH_MAX = 200;
// The text is read once from left to right, and no further than the longest name: no two parts of the pattern compete for a character.
const NAME_PATTERN =
  /^(?=[\p{Z}\u200c\u200d]{0,200}[^\p{Z}\u200c\u200d])(?:[^\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]|[\u200c\u200d]){0,200}$/u;

/** Exactly one word of a fixed list. */
export function WordField(options: FieldOptions & { words: readonly string[] }): PropertyDecorator {
  const { words } = options;
  return field(
    options,
    { type: 'string', enum: [...words] },
    IsIn(words, { message: `$property must be one of ${words.join(', ')}` }),
  );
}

/** One or more words of a fixed list, none twice. */
export function WordSetField(options: FieldOptions & { words: readonly string[] }): PropertyDecorator {
  const { words } = options;
  return field(
    options,
    { type: 'array', items: { type: 'string', enum: [...words] }, minItems: 1, uniqueItems: true },
    IsArray(),
    ArrayMinSize(1),
    ArrayMaxSize(words.length),
    IsWithoutDuplicates(),
    IsIn(words, { each: true, message: `each value in $property must be one of ${words.join(', ')}` }),
  );
}

/** class-validator's `ArrayUnique` compares each item with every item before it, for any number of items. */
function IsWithoutDuplicates(): PropertyDecorator {
  return ValidateBy({
    name: 'arrayUnique',
    validator: {
      validate: (value: unknown) => Array.isArray(value) && new Set(value).size === value.length,
      defaultMessage: () => "All $property's elements must be unique",
    },
  });
}

export function IntegerField(options: FieldOptions & { min: number; max: number }): PropertyDecorator {
  const { min, max } = options;
  return field(options, { type: 'integer', minimum: min, maximum: max }, IsInt(), Min(min), Max(max));
}

export function BooleanField(options: FieldOptions): PropertyDecorator {
  return field(options, { type: 'boolean' }, IsBoolean());
}

/** An object with fields of its own; an optional one may also be null. */
export function ObjectField(options: FieldOptions & { type: new () => object }): PropertyDecorator {
  const { type } = options;
  const nullable = options.optional === true ? { nullable: true } : {};
  return field(
    options,
    { type: () => type, ...nullable },
    IsObject(),
    ValidateNested(),
    Type(() => type),
  );
}

/** The address that a browser is sent to: absolute, http or https, without credentials in it. */
export function WebUrlField(options: FieldOptions): PropertyDecorator {
  const rule = 'must be an absolute http or https URL without credentials';
  return field(
    options,
    { type: 'string', format: 'uri', maxLength: URL_LENGTH_MAX },
    ValidateBy({
      name: 'isWebUrl',
      validator: { validate: isWebUrl, defaultMessage: () => `$property ${rule}` },
    }),
  );
}

/** The longest URL that browsers and Stripe accept. */
const URL_LENGTH_MAX = 2_000;

function isWebUrl(value: unknown): boolean {
  if (typeof value !== 'string' || value.length > URL_LENGTH_MAX) return false;
  // The parser would drop white space and control characters silently, and then the stored text would differ from the checked one.
  if (!/^https?:\/\/[\x21-\x7e]+$/i.test(value) || !URL.canParse(value)) return false;
  const { username, password } = new URL(value);
  return username === '' && password === '';
}

/**
 * An amount in micro-USD. The wire form is a decimal integer string; a JSON integer below 2^53 is accepted as
 * well. The DTO property keeps the string form; `parseMicros` reads it.
 */
export function MicroUsdField(options: FieldOptions & { signed?: boolean }): PropertyDecorator {
  return field(
    options,
    {
      type: 'string',
      pattern: options.signed ? '^-?[1-9][0-9]{0,14}$' : '^[1-9][0-9]{0,14}$',
      example: options.example ?? '40000',
    },
    Transform(({ value }: { value: unknown }) => (Number.isSafeInteger(value) ? String(value) : value)),
    IsMicroUsd(options.signed === true),
  );
}

function IsMicroUsd(signed: boolean, validationOptions?: ValidationOptions): PropertyDecorator {
  return ValidateBy(
    {
      name: 'isMicroUsd',
      validator: {
        validate: (value: unknown) => typeof value === 'string' && isAmount(value, signed),
        defaultMessage: () =>
          `$property must be ${signed ? 'a non-zero' : 'a positive'} whole number of micro-dollars as a string, at most ${MAX_AMOUNT_MICROS}`,
      },
    },
    validationOptions,
  );
}

function isAmount(text: string, signed: boolean): boolean {
  const amount = parseMicros(text);
  if (amount === null || amount === 0n || (amount < 0n && !signed)) return false;
  return amount <= MAX_AMOUNT_MICROS && amount >= negate(MAX_AMOUNT_MICROS);
}

/** Documents an answer's amount: a decimal integer string in micro-USD. */
export function MicroUsdView(description: string, example = '40000'): PropertyDecorator {
  return ApiProperty({ description, type: 'string', pattern: '^-?[0-9]+$', example });
}

/** Documents an answer's time: Unix seconds. */
export function TimeView(description: string): PropertyDecorator {
  return ApiProperty({ description, type: 'integer', example: 1_795_329_561 });
}

export function ObjectTypeView(name: string): PropertyDecorator {
  return ApiProperty({ description: 'What this object is.', type: 'string', enum: [name], example: name });
}
