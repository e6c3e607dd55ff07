/** PostgreSQL settings, by name, as they would stand in postgresql.conf. */
export type PostgresSettings = Readonly<Record<string, string>>;

/**
 * For a small prepaid ledger on a machine that is shared with the service. Settings go on the command line
 * at every start, so that an improved default reaches clusters that already exist.
 *
 * `fsync`, `synchronous_commit` and `full_page_writes` are not named here on purpose: they keep their
 * default, on, because a 2xx is sent after a durable commit and never before.
 */
export const DEFAULT_SETTINGS: PostgresSettings = {
  // Loopback only; a UNIX socket is not offered because its path may not exceed 107 bytes, and TypeORM's
  // URL parser does not read socket URLs.
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // Nobody may log in as superuser, so no connection needs to be kept free for one.
  max_connections: '100',
  superuser_reserved_connections: '0',
  // Holds the hot part of a ledger of some million rows; memory is only taken when it is touched.
  shared_buffers: '256MB',
  // Fewer, larger checkpoints: after each of them, the first change of a page writes the whole page to the
  // log. Recovery after a crash replays at most this much, some ten seconds.
  max_wal_size: '2GB',
  checkpoint_timeout: '15min',
  random_page_cost: '1.1', // The data is on an SSD or in memory.
  jit: 'off', // Every statement of ours is over before a compiler would pay off.
  timezone: 'UTC',
  log_timezone: 'UTC',
  cluster_name: 'coffer',
  // Refused statements are the service's to report, with its request ids; the server logs what happens to
  // the server.
  log_min_messages: 'log',
  log_checkpoints: 'off',
};
