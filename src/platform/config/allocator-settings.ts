/** As `npm start` and the container image set them (ADR 54). */
const ALLOCATOR_SETTINGS = ['MALLOC_ARENA_MAX', 'MALLOC_TRIM_THRESHOLD_'] as const;

/**
 * Settings of glibc's allocator that this process was started without. Call it before `loadSettings`: glibc reads the
 * environment before our code runs, so what `.env` adds to it comes too late.
 */
export function readUnsetAllocatorSettings(): readonly string[] {
  const { header } = process.report.getReport() as { header: object };
  return 'glibcVersionRuntime' in header ? findUnsetAllocatorSettings(process.env) : [];
}

/** Pure. None where another allocator is loaded, or glibc's own tunables are used: somebody has chosen. */
export function findUnsetAllocatorSettings(
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const isSet = (name: string): boolean => (env[name] ?? '') !== '';
  if (isSet('LD_PRELOAD') || env['GLIBC_TUNABLES']?.includes('glibc.malloc.') === true) return [];
  return ALLOCATOR_SETTINGS.filter((name) => !isSet(name));
}
