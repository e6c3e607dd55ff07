/**
 * The `code` of a system or Fastify error. Not guarded by `instanceof Error`: an error may come from
 * another realm (test runners load modules in one of their own).
 */
export function errorCode(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
