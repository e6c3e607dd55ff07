/**
 * What this version does when it moves money. Raised, here and in a migration (`required_engine_version`), by a change that
 * makes it wrong for an older process to go on: the database refuses that one from then on (ADR 35).
 */
export const ENGINE_VERSION = 4;

/** The session setting in which a connection says it. A connection that says nothing is older than any version. */
export const ENGINE_VERSION_SETTING = 'coffer.engine_version';
