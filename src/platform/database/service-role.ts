import pg from 'pg';
import type { DataSource } from 'typeorm';
import { asPostgresError } from './constraints.js';

/** This role has the privileges of the service and cannot log in: logins are members of it. Roles belong to the whole server. */
export const APPLICATION_ROLE = 'coffer_app';

const DUPLICATE_OBJECT = '42710';
const UNIQUE_VIOLATION = '23505';
const INSUFFICIENT_PRIVILEGE = '42501';

/** An administrator of the server has to create the service's login first. The message has the statements, and no password. */
export class ServiceLoginMissingError extends Error {
  constructor(owner: string, login: string) {
    super(
      `The login ${login} of DATABASE_URL does not exist, and ${owner} of MIGRATION_DATABASE_URL may not create it. ` +
        'Let an administrator of the server run this, then start again:\n' +
        `  CREATE ROLE ${pg.escapeIdentifier(login)} LOGIN PASSWORD '<the password in DATABASE_URL>';`,
    );
    this.name = 'ServiceLoginMissingError';
  }
}

/**
 * Creates the service's login and the role that carries its privileges, as far as the owner may. Returns the role to grant
 * them to: the application role; the login itself where the owner may not make it a member of that; null where there
 * is no other role than the owner.
 *
 * @param serviceUrl the login of the service; the owner's where there is only one login.
 * @throws ServiceLoginMissingError
 */
export async function prepareServiceRole(owner: DataSource, serviceUrl: string): Promise<string | null> {
  const ownerName = await currentUser(owner);
  const role = (await makeRole(owner, APPLICATION_ROLE)) ? APPLICATION_ROLE : null;
  const { login, password } = credentialsIn(serviceUrl);
  if (login === null || login === ownerName) return role;
  if (!(await makeRole(owner, login, `LOGIN PASSWORD ${pg.escapeLiteral(password)}`))) {
    throw new ServiceLoginMissingError(ownerName, login);
  }
  await letConnect(owner, login);
  return role !== null && (await makeMember(owner, role, login)) ? role : login;
}

async function currentUser(database: DataSource): Promise<string> {
  const [row] = await database.query<{ name: string }[]>('SELECT current_user AS name');
  return row?.name ?? '';
}

/** Reads the URL as the driver does. */
function credentialsIn(url: string): { readonly login: string | null; readonly password: string } {
  const { username, password } = new URL(url);
  return {
    login: username === '' ? null : decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}

/** Returns whether the role exists afterwards. An existing one is left unchanged. */
async function makeRole(owner: DataSource, name: string, options = 'NOLOGIN'): Promise<boolean> {
  const found = await owner.query<unknown[]>('SELECT FROM pg_roles WHERE rolname = $1', [name]);
  if (found.length > 0) return true;
  // Another database of the same server may create it at the same time.
  return succeeds(owner, `CREATE ROLE ${pg.escapeIdentifier(name)} ${options}`, [
    DUPLICATE_OBJECT,
    UNIQUE_VIOLATION,
  ]);
}

/** Returns whether the login has the role's privileges afterwards, without a `SET ROLE`. */
async function makeMember(owner: DataSource, role: string, login: string): Promise<boolean> {
  const sql = `SELECT pg_has_role($1, $2, 'USAGE') AS "isMember"`;
  const [row] = await owner.query<{ isMember: boolean }[]>(sql, [login, role]);
  if (row?.isMember === true) return true;
  return succeeds(owner, `GRANT ${pg.escapeIdentifier(role)} TO ${pg.escapeIdentifier(login)}`);
}

async function letConnect(owner: DataSource, login: string): Promise<void> {
  await owner.query(
    `DO $$ BEGIN
       IF NOT has_database_privilege(${pg.escapeLiteral(login)}, current_database(), 'CONNECT') THEN
         EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), ${pg.escapeLiteral(login)});
       END IF;
     END $$`,
  );
}

/** Returns false when the owner lacks the right; the given errors count as success. */
async function succeeds(owner: DataSource, sql: string, harmless: readonly string[] = []): Promise<boolean> {
  try {
    await owner.query(sql);
    return true;
  } catch (error) {
    const code = asPostgresError(error)?.code ?? '';
    if (code === INSUFFICIENT_PRIVILEGE) return false;
    if (harmless.includes(code)) return true;
    throw error;
  }
}
