import { readExport } from './read-export.js';
import { ExportVerifier, type Verdict } from './verify-export.js';

/**
 * Reads an export to its end or its first fault and says which it is. Memory stays flat whatever its size.
 *
 * @throws NotAnExportError when the input is something else; what the input throws.
 */
export async function verifyStream(input: AsyncIterable<Buffer>): Promise<Verdict> {
  const verifier = new ExportVerifier();
  for await (const records of readExport(input)) {
    if (!records.every((record) => verifier.next(record))) break;
  }
  return verifier.finish();
}
