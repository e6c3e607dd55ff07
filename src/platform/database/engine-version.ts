/**
 * The version of how this program moves money. A change that makes older processes wrong raises it, here and in a migration
 * (`required_engine_version`): the database then refuses older processes (ADR 35).
 */
export const ENGINE_VERSION = 5;

/** The session setting that carries a connection's version. A connection without it is older than any version. */
export const ENGINE_VERSION_SETTING = 'coffer.engine_version';
