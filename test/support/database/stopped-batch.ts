import { DataSource } from 'typeorm';
import type { CleanUp } from '../clean-up.js';
import { eventually } from '../processes.js';

const TRIGGER = `
  CREATE TABLE stopped_accounts (account_id text PRIMARY KEY);
  GRANT SELECT ON stopped_accounts TO PUBLIC;
  CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    WHILE EXISTS (SELECT FROM stopped_accounts WHERE account_id = NEW.account_id) LOOP PERFORM pg_sleep(0.01); END LOOP;
    RETURN NULL;
  END $$;
  CREATE CONSTRAINT TRIGGER stand_still AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION stand_still()`;

/**
 * Server processes that hang at the COMMIT of a batch, with all that it has written and locked. They hear nothing in the meantime, not
 * even that their connection was closed; then they go on, and commit.
 */
export class StoppedBatches {
  private constructor(private readonly owner: DataSource) {}

  /** @param url of the role that owns the database. */
  static async install(url: string, cleanUp: CleanUp): Promise<StoppedBatches> {
    const owner = await new DataSource({ type: 'postgres', url }).initialize();
    cleanUp.add(() => owner.destroy());
    await owner.query(TRIGGER);
    return new StoppedBatches(owner);
  }

  /** From now on whatever moves credit of this account. */
  async stop(accountId: string): Promise<void> {
    await this.owner.query('INSERT INTO stopped_accounts VALUES ($1)', [accountId]);
  }

  /** Resolves when a server process hangs that has locked the account's wallet. */
  async stopped(accountId: string): Promise<void> {
    const asleep = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`;
    await eventually('a server process is stopped inside its batch', async () => {
      return (await this.isLocked(accountId)) && (await this.owner.query<unknown[]>(asleep)).length > 0;
    });
  }

  /** Resolves when the wallet is free again. */
  async goOn(accountId: string): Promise<void> {
    await this.owner.query('DELETE FROM stopped_accounts');
    await eventually('the wallet is free', async () => !(await this.isLocked(accountId)));
  }

  private async isLocked(accountId: string): Promise<boolean> {
    const free = 'SELECT FROM wallets WHERE account_id = $1 FOR UPDATE SKIP LOCKED';
    return (await this.owner.query<unknown[]>(free, [accountId])).length === 0;
  }
}
