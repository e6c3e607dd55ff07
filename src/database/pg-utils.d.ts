/** Part of `pg` that its types leave out; `pg-cursor` uses it the same way. */
declare module 'pg/lib/utils.js' {
  /** A parameter's text, as the server reads it; arrays become array literals. */
  export function prepareValue(value: unknown): unknown;
}
