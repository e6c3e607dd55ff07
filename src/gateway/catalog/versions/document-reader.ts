type Members = Readonly<Record<string, unknown>>;

/** Collects all faults of a document with their positions, instead of stopping at the first. */
export class DocumentReader {
  readonly faults: string[] = [];

  refuse(place: string, rule: string): void {
    this.faults.push(`${place} ${rule}`);
  }

  /** Returns the members of an object that may have only these. A value that is no object has no members. */
  object(value: unknown, place: string, names: readonly string[]): Members {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.refuse(place, 'must be an object');
      return {};
    }
    for (const name of Object.keys(value)) {
      // Without this check, a misspelt member would silently be ignored.
      if (!names.includes(name)) this.refuse(`${place}.${name.slice(0, NAME_SHOWN_MAX)}`, 'is unknown');
    }
    return value as Members;
  }

  list<T>(
    value: unknown,
    place: string,
    { min = 0, max }: { min?: number; max: number },
    read: (item: unknown, place: string) => T,
  ): T[] {
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      this.refuse(place, `must be a list of ${min} to ${max}`);
      return [];
    }
    return value.map((item: unknown, index) => read(item, `${place}[${index}]`));
  }

  /** Reads one line of text without control characters. */
  text(value: unknown, place: string, { max, pattern }: { max: number; pattern?: RegExp }): string {
    if (typeof value === 'string' && value.length > 0 && value.length <= max && ONE_LINE.test(value)) {
      if (pattern === undefined || pattern.test(value)) return value;
    }
    this.refuse(place, `must be text of 1 to ${max} characters${pattern ? ` like ${pattern.source}` : ''}`);
    return '';
  }

  integer(value: unknown, place: string, { min, max }: { min: number; max: number }): number {
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) {
      return value as number;
    }
    this.refuse(place, `must be a whole number from ${min} to ${max}`);
    return min;
  }

  word<T extends string>(value: unknown, place: string, words: readonly [T, ...T[]]): T {
    const found = words.find((word) => word === value);
    if (found === undefined) this.refuse(place, `must be one of ${words.join(', ')}`);
    return found ?? words[0];
  }
}

const NAME_SHOWN_MAX = 60;
/** Whether the text has no control characters and no half surrogate pairs, which Postgres and pages do not support. */
const ONE_LINE = /^[^\p{Cc}\p{Cs}]+$/u;
