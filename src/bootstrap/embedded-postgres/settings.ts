/** PostgreSQL settings, by name, in the notation of postgresql.conf. */
export type PostgresSettings = Readonly<Record<string, string>>;

/**
 * These settings fit a small prepaid ledger on a machine that it shares with the service. They are passed on the
 * command line at every start, so that an improved default also applies to clusters that already exist.
 *
 * `fsync`, `synchronous_commit` and `full_page_writes` are missing on purpose: they keep their default, on, because a
 * 2xx answer is sent only after a durable commit.
 */
export const DEFAULT_SETTINGS: PostgresSettings = {
  // Only loopback is offered. A UNIX socket is not, because its path may not exceed 107 bytes, and TypeORM's URL
  // parser does not read socket URLs.
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // The superuser cannot log in, so no connection needs to be reserved for it.
  max_connections: '100',
  superuser_reserved_connections: '0',
  // It holds the frequently used part of a ledger of some million rows; memory is only allocated when it is touched.
  shared_buffers: '256MB',
  // This makes checkpoints fewer and larger: after each of them, the first change of a page writes the whole page to
  // the log. Recovery after a crash replays at most this much, which takes some ten seconds.
  max_wal_size: '2GB',
  checkpoint_timeout: '15min',
  random_page_cost: '1.1', // The data is on an SSD or in memory.
  jit: 'off', // Every statement of ours is over before a compiler would pay off.
  timezone: 'UTC',
  log_timezone: 'UTC',
  cluster_name: 'coffer',
  // The service reports refused statements, with its request ids; the server logs what happens to the server.
  log_min_messages: 'log',
  log_checkpoints: 'off',
};
