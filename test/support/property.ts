import fc from 'fast-check';

/**
 * Runs a property with a seed that is printed whether it holds or not, so any run can be repeated:
 * `PROPERTY_SEED=<seed> npm test -- <file>`. `PROPERTY_RUNS` multiplies the effort.
 */
export async function checkProperty<Ts>(
  name: string,
  property: fc.IRawProperty<Ts>,
  options: { readonly runs: number },
): Promise<void> {
  const seed = Number(process.env['PROPERTY_SEED'] ?? Date.now() % 2_147_483_647);
  const numRuns = options.runs * Number(process.env['PROPERTY_RUNS'] ?? 1);
  process.stderr.write(`property "${name}": seed ${seed}, ${numRuns} runs\n`);
  await fc.assert(property, { seed, numRuns });
}
