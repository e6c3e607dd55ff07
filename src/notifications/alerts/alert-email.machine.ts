/**
 * The life of a mail.
 *
 * - `pending`: an attempt is due, now or later.
 * - `sent`: the mail server took it.
 * - `failed`: the server refused it for good, or the attempts are used up.
 * - `canceled`: the address was removed, changed or never confirmed before an attempt succeeded.
 */
export const EMAIL_TRANSITIONS = {
  pending: ['pending', 'sent', 'failed', 'canceled'],
  sent: [],
  failed: [],
  canceled: [],
} as const satisfies Record<string, readonly string[]>;

export type EmailStatus = keyof typeof EMAIL_TRANSITIONS;
