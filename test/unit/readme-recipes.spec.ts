import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';

const read = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const RECIPE = /^`(test\/\S+\.spec\.ts)`:\n\n```ts\n([\s\S]*?)^```$/gm;

describe('the recipes of test/README.md', () => {
  const recipes = [...read('test/README.md').matchAll(RECIPE)];

  it('are three: a pure rule, an HTTP route, a job with Stripe', () => {
    expect(recipes).toHaveLength(3);
  });

  it.each(recipes.map(([, file = '', text = '']) => [file, text]))(
    'are specs that run, word for word: %s',
    (file, text) => {
      expect(read(file)).toBe(text);
    },
  );
});
