import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Division of money happens only in the four named functions of common/money.ts. */
const noMoneyDivision = {
  selector: "BinaryExpression[operator='/'] > Identifier[name=/Micros$/]",
  message: 'Money is divided only by divExact, divFloor, divCeil and divHalfUp (common/money.ts).',
};
const noMoneyFloat = {
  selector: "CallExpression[callee.name='Number'] > Identifier[name=/[mM]icros$/]",
  message: 'Money never becomes a float: keep the bigint, or a string on the wire.',
};
const noProcessEnv = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Only src/platform/config reads the environment; inject SETTINGS instead.',
};
/** Workers share one server, and the databases that were cloned for them the ids of their tables. */
const noSessionsOfOthers = {
  selector: [
    'Literal[value=/pg_stat_activity|pg_locks/]:not([value=/current_database/])',
    'TemplateElement[value.raw=/pg_stat_activity|pg_locks/]:not([value.raw=/current_database/])',
  ].join(),
  message:
    'Sessions and locks are those of all tests that run: name the database, `datname = current_database()`.',
};

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.coffer*/**', 'coverage/**'] },
  js.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'max-lines-per-function': ['error', { max: 70, skipComments: true, skipBlankLines: true }],
      'no-restricted-syntax': ['error', noMoneyDivision, noMoneyFloat, noProcessEnv],
      'no-console': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    files: ['src/platform/config/**', 'test/**', 'bench/**', 'scripts/**'],
    rules: { 'no-restricted-syntax': ['error', noMoneyDivision, noMoneyFloat] },
  },
  {
    files: ['test/integration/**'],
    rules: { 'no-restricted-syntax': ['error', noMoneyDivision, noMoneyFloat, noSessionsOfOthers] },
  },
  {
    files: ['src/cli.ts', 'src/cli/**', 'scripts/**', 'bench/**'],
    rules: { 'no-console': 'off' },
  },
  {
    // A describe block is a table of contents, not a function with a screenful of logic.
    files: ['test/**'],
    rules: { 'max-lines-per-function': 'off' },
  },
  {
    // A spec stops the clock of its application, or waits for what happens (`eventually`), and never for time.
    files: ['test/unit/**', 'test/integration/**', 'test/**/*.spec.ts'],
    rules: {
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval'],
      'no-restricted-imports': ['error', 'node:timers/promises', 'timers/promises'],
    },
  },
  {
    // Response bodies in tests are inspected as plain JSON.
    files: ['test/**'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: { globals: { process: 'readonly', console: 'readonly' } },
  },
  {
    // jest requires its runtime and its environment.
    files: ['**/*.cjs'],
    ...tseslint.configs.disableTypeChecked,
    rules: { ...tseslint.configs.disableTypeChecked.rules, '@typescript-eslint/no-require-imports': 'off' },
    languageOptions: {
      sourceType: 'commonjs',
      globals: { process: 'readonly', require: 'readonly', module: 'writable', __filename: 'readonly' },
    },
  },
);
