/**
 * For processes that a test starts: they end with the test, however that ends. Their standard input is a pipe
 * from the test's process, and the kernel closes it.
 *
 *   node --import ./test/support/process/end-with-parent.mjs …
 */
process.stdin
  .on('end', () => process.exit(1))
  .resume()
  .unref();
