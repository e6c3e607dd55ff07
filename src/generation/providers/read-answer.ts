/** What may be anything, read member by member. */
export function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The decoded bytes of base64 text, also behind a `data:` prefix; null for anything else. */
export function readBase64(value: unknown): Buffer | null {
  if (typeof value !== 'string') return null;
  const encoded = value.startsWith('data:') ? value.slice(value.indexOf(',') + 1) : value;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.length > 0 ? bytes : null;
}

/** Whole seconds from 1 to 60; null when the provider does not say. */
export function readRetryAfter(told: unknown): number | null {
  const seconds = Number(told ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), 60) : null;
}
