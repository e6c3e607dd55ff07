import { Pool, type PoolClient, type PoolConfig } from 'pg';
import { BoundedClient } from '../database/bounded-client.js';

type Release = (release?: boolean | Error) => void;
type Callback = (error: Error | undefined, client: PoolClient | undefined, release: Release) => void;

/**
 * The connections of one run. Two faults of the library would end the process: a connection that breaks while it is in use
 * emits an error without a listener, and the one that listens for new jobs is released twice when the run stops at the
 * very moment it breaks.
 */
export class JobPool extends Pool {
  constructor(config: PoolConfig, onConnectionError: (error: Error) => void) {
    super({ ...config, Client: BoundedClient });
    this.on('error', onConnectionError);
    this.on('connect', (client) => client.on('error', onConnectionError));
  }

  override connect(): Promise<PoolClient>;
  override connect(callback: Callback): void;
  override connect(callback?: Callback): Promise<PoolClient> | void {
    if (callback === undefined) return super.connect();
    return super.connect((error, client, release?: Release) => callback(error, client, onlyOnce(release)));
  }
}

/** A pool that has ended passes an error, and no function to release a connection. */
function onlyOnce(release: Release | undefined): Release {
  let released = false;
  return (reason) => {
    if (released) return;
    released = true;
    release?.(reason);
  };
}
