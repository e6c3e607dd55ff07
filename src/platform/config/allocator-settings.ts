/** The variables that `npm start` and the container image set (ADR 54). */
const ALLOCATOR_SETTINGS = ['MALLOC_ARENA_MAX', 'MALLOC_TRIM_THRESHOLD_'] as const;

/**
 * Returns the settings of glibc's allocator that this process was started without. Call it before `loadSettings`: glibc reads
 * the environment before any JavaScript runs, so what `.env` adds to it comes too late.
 */
export function readUnsetAllocatorSettings(): readonly string[] {
  const { header } = process.report.getReport() as { header: object };
  return 'glibcVersionRuntime' in header ? findUnsetAllocatorSettings(process.env) : [];
}

/** It is pure. It returns none when another allocator is loaded, or glibc's own tunables are set: the operator has chosen. */
export function findUnsetAllocatorSettings(
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const isSet = (name: string): boolean => (env[name] ?? '') !== '';
  if (isSet('LD_PRELOAD') || env['GLIBC_TUNABLES']?.includes('glibc.malloc.') === true) return [];
  return ALLOCATOR_SETTINGS.filter((name) => !isSet(name));
}
