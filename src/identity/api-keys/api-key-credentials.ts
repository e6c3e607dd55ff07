import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Credential, Credentials } from '../auth/credentials.js';
import type { AccountScope, OperatorScope, Principal } from '../auth/principal.js';

type Row = {
  readonly id: string;
  readonly account_id: string | null;
  readonly secret_hash: Buffer;
  readonly scopes: readonly string[];
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly duplicate_window_seconds: number;
};

/** One statement serves any number of hashes, so that the server always plans it the same way. */
const FIND = `
  SELECT id, account_id, secret_hash, scopes, expires_at, revoked_at, duplicate_window_seconds
    FROM api_keys WHERE secret_hash = ANY($1::bytea[])`;

@Injectable()
export class ApiKeyCredentials implements Credentials {
  constructor(private readonly dataSource: DataSource) {}

  async findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>> {
    const rows = await this.dataSource.query<Row[]>(FIND, [hashes.map((hash) => Buffer.from(hash, 'hex'))]);
    return new Map(rows.map((row) => [row.secret_hash.toString('hex'), toCredential(row)]));
  }
}

function toCredential(row: Row): Credential {
  return {
    principal: toPrincipal(row),
    expiresAtMs: row.expires_at?.getTime() ?? null,
    revoked: row.revoked_at !== null,
  };
}

/** The constraint api_keys_scopes_of_kind keeps the scopes of the two kinds apart. */
function toPrincipal({ id: keyId, account_id: accountId, scopes, duplicate_window_seconds }: Row): Principal {
  if (accountId === null) {
    return { kind: 'operator_key', keyId, scopes: new Set(scopes as readonly OperatorScope[]) };
  }
  return {
    kind: 'account_key',
    keyId,
    accountId,
    scopes: new Set(scopes as readonly AccountScope[]),
    duplicateWindowSeconds: duplicate_window_seconds,
  };
}
