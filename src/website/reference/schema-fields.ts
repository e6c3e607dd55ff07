import type { ApiSchema } from './api-document.js';

/** One member of a body as a row of a table, named like `data[].url`. */
export type SchemaField = {
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  /** The default value as JSON; null when there is none. */
  readonly standard: string | null;
  readonly description: string;
};

/** Deeper members are omitted, because the table would not be readable. */
const DEPTH_MAX = 4;

/** Reads the schemas of one document. Pure. */
export class Schemas {
  constructor(
    private readonly document: {
      readonly components?: { readonly schemas?: Readonly<Record<string, ApiSchema>> };
    },
  ) {}

  /** Returns the members of an object, each followed by its own members. */
  fields(schema: ApiSchema | undefined, prefix = '', depth = 0): SchemaField[] {
    const { properties = {}, required = [] } = this.resolve(schema);
    return Object.entries(properties).flatMap(([name, member]) => {
      const known = this.resolve(member);
      const field = {
        name: `${prefix}${name}`,
        type: this.toType(member),
        isRequired: required.includes(name),
        standard: known.default === undefined ? null : JSON.stringify(known.default),
        description: member.description ?? known.description ?? '',
      };
      if (depth === DEPTH_MAX) return [field];
      const below =
        known.items === undefined
          ? this.fields(known, `${field.name}.`, depth + 1)
          : this.fields(known.items, `${field.name}[].`, depth + 1);
      return [field, ...below];
    });
  }

  /** Returns an example value from the examples of the members; undefined when there are none. */
  example(schema: ApiSchema | undefined, onlyRequired: boolean, depth = 0): unknown {
    const known = this.resolve(schema);
    if (known.example !== undefined) return known.example;
    if (known.default !== undefined) return known.default;
    const [word] = known.enum ?? [];
    if (word !== undefined) return word;
    if (known.items !== undefined) {
      const item = depth > DEPTH_MAX ? undefined : this.example(known.items, onlyRequired, depth + 1);
      return item === undefined ? [] : [item];
    }
    if (known.properties !== undefined && depth <= DEPTH_MAX) {
      const { required = [] } = known;
      const members = Object.entries(known.properties).filter(
        ([name]) => !onlyRequired || required.includes(name),
      );
      return Object.fromEntries(
        members.map(([name, member]) => [name, this.example(member, onlyRequired, depth + 1)]),
      );
    }
    return exampleFor(known);
  }

  /** Resolves references, and merges the parts of a combined schema. */
  resolve(schema: ApiSchema | undefined): ApiSchema {
    if (schema === undefined) return {};
    const { $ref, allOf, anyOf, ...own } = schema;
    const named = this.document.components?.schemas?.[$ref?.replace('#/components/schemas/', '') ?? ''];
    // Only the first alternative is shown, because the second one is always null in this document.

    const parts = [...(named === undefined ? [] : [named]), ...(allOf ?? []), ...(anyOf?.slice(0, 1) ?? [])];
    return parts.reduce((known: ApiSchema, part) => ({ ...this.resolve(part), ...known }), own);
  }

  private toType(schema: ApiSchema): string {
    const { type, format, enum: words, items, minimum, maximum, maxLength } = this.resolve(schema);
    if (words !== undefined) {
      return words
        .filter((word) => word !== null)
        .map(String)
        .join(' | ');
    }
    if (items !== undefined) return `list of ${this.toType(items)}`;
    const names = (typeof type === 'string' ? [type] : (type ?? ['object'])).filter((one) => one !== 'null');
    const name = format === undefined ? names.join(' | ') : `${names.join(' | ')}, ${format}`;
    if (minimum !== undefined && minimum === maximum) return String(minimum);
    if (minimum !== undefined && maximum !== undefined) return `${name}, ${minimum} to ${maximum}`;
    return maxLength === undefined ? name : `${name}, at most ${maxLength} characters`;
  }
}

function exampleFor({ type, minimum }: ApiSchema): unknown {
  const [first] = typeof type === 'string' ? [type] : (type ?? []);
  switch (first) {
    case 'string':
      return '…';
    case 'integer':
    case 'number':
      return minimum ?? 1;
    case 'boolean':
      return false;
    default:
      return undefined;
  }
}
