export default async function teardown() {
  await globalThis.cofferTestServer?.stop();
}
