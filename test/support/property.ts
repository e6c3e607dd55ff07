import fc from 'fast-check';

/** A share of all cases: `npm test` sets a quarter, `npm run test:long` tries all. `PROPERTY_RUNS=10` tries ten times as many. */
const EFFORT = Number(process.env['PROPERTY_RUNS'] ?? 1);

/** How many of `runs` random cases this run tries. */
export function casesFor(runs: number): number {
  return Math.ceil(runs * EFFORT);
}

/** How far a loop over all amounts steps: 1 where all cases are tried, else 7, which still meets every rounding of a fee. */
export function amountStep(): bigint {
  return EFFORT < 1 ? 7n : 1n;
}

/**
 * Runs a property with a seed that is printed whether it holds or not, so any run can be repeated:
 * `PROPERTY_SEED=<seed> npm test -- <file>`.
 */
export async function checkProperty<Ts>(
  name: string,
  property: fc.IRawProperty<Ts>,
  options: { readonly runs: number },
): Promise<void> {
  const seed = Number(process.env['PROPERTY_SEED'] ?? Date.now() % 2_147_483_647);
  const numRuns = casesFor(options.runs);
  process.stderr.write(`property "${name}": seed ${seed}, ${numRuns} runs\n`);
  await fc.assert(property, { seed, numRuns });
}
