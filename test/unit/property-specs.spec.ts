import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

/**
 * `npm run test:long` tries every property on all of its cases and finds them by the names of their files; `npm test`
 * tries the share that `checkProperty` takes. A property in an ordinary spec would never be tried on all of them, and
 * one that is run without `checkProperty` has neither a share nor a seed that is printed.
 */
const PACKAGE = 'fast-check';
const RUNNER = 'support/property.ts';
/** In `unit` a long spec would run in `npm test` only. */
const RUN_WITH_ALL_CASES = /\.property\.spec\.ts$|^(?!unit\/).*\.long\.spec\.ts$/;

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .map((file) => file.split(path.sep).join('/'))
  .filter((file) => /\.[cm]?[jt]s$/.test(file));

describe('a property', () => {
  it('is in a file whose name runs it on all of its cases, and is run by checkProperty', () => {
    expect(files.length).toBeGreaterThan(150);
    expect(files.flatMap((file) => faultsOf(file, readFileSync(path.join(ROOT, file), 'utf8')))).toEqual([]);
  });

  it('is noticed wherever it is, and however it is imported and run', () => {
    const imported = `import fc from '${PACKAGE}';`;
    const ofRunner = `import { checkProperty } from '../${RUNNER.replace('.ts', '.js')}';`;
    const [assert, check] = ['fc.assert', 'fc.check'];
    const cases: [file: string, text: string, faults: number][] = [
      ['unit/fee.property.spec.ts', imported, 0],
      ['integration/fee.long.spec.ts', imported, 0],
      ['support/scripts.ts', imported, 0],
      ['unit/fee.spec.ts', `// ${imported}\nconst text = 'property';`, 0],
      ['unit/fee.spec.ts', imported, 1],
      ['unit/fee.spec.ts', ofRunner, 1],
      ['unit/fee.long.spec.ts', imported, 1],
      ['simulators/stripe.spec.ts', imported, 1],
      ['unit/fee.spec.ts', `const { default: fc } = await import("${PACKAGE}");`, 2],
      ['unit/fee.property.spec.ts', `import { assert } from '${PACKAGE}';`, 1],
      ['unit/fee.property.spec.ts', `import * as fc from '${PACKAGE}';`, 1],
      ['unit/fee.property.spec.ts', `${imported}\nawait ${assert}(property);`, 1],
      ['unit/fee.property.spec.ts', `${imported}\nawait ${check}(property);`, 1],
      ['support/scripts.ts', `${imported}\n  await fc\n    .assert<[number]>(property);`, 1],
    ];
    for (const [file, text, faults] of cases) {
      expect({ file, text, faults: faultsOf(file, text) }).toMatchObject({ faults: { length: faults } });
    }
  });
});

function faultsOf(file: string, text: string): string[] {
  if (file === RUNNER) return [];
  // Good enough for formatted TypeScript: a `//` after a colon belongs to a URL in a string.
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
  const imports = [...code.matchAll(/\b(?:from|import|require)\s*\(?\s*['"]([^'"]+)['"]/g)].map(
    ([, specifier]) => specifier ?? '',
  );
  const ofPackage = imports.filter((specifier) => specifier === PACKAGE).length;
  const isProperty = ofPackage > 0 || imports.some((specifier) => specifier.endsWith('support/property.js'));
  // By this name only, under which a call that runs a property is found.
  const asFc = [...code.matchAll(/\bimport\s+fc\s+from\s+['"]fast-check['"]/g)].length;
  const isMisnamed = isProperty && file.endsWith('.spec.ts') && !RUN_WITH_ALL_CASES.test(file);
  return [
    ...(isMisnamed ? [`${file} has a property and is not named *.property.spec.ts`] : []),
    ...(ofPackage > asFc ? [`${file} imports ${PACKAGE} otherwise than as fc`] : []),
    ...(/\bfc\s*\.\s*(?:assert|check)\s*[(<]/.test(code) ? [`${file} runs a property itself`] : []),
  ];
}
