import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Files that carry secrets: only their owner can read them, and no reader sees one half written. */

/** Returns the parsed file; null when there is none. Throws when it is not JSON. */
export async function readPrivateJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${path} is not JSON; move it away to start afresh`, { cause });
  }
}

export async function writePrivateJson(path: string, value: unknown): Promise<void> {
  const temporary = await writeNextTo(path, value);
  await rename(temporary, path);
}

/**
 * Writes the file unless it exists, and returns its content. Of two processes that start at once, one writes, and
 * both continue with the same secrets.
 */
export async function createPrivateJson(path: string, value: unknown): Promise<unknown> {
  const temporary = await writeNextTo(path, value);
  try {
    await link(temporary, path);
    return value;
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    return await readPrivateJson(path);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeNextTo(path: string, value: unknown): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
