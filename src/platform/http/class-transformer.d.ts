/** Part of `class-transformer` that its entry point leaves out: what the decorators of a class have declared. */
declare module 'class-transformer/cjs/storage.js' {
  export { defaultMetadataStorage } from 'class-transformer/types/storage.js';
}
