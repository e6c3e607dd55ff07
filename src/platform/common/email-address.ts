/** The longest address that mail servers accept (RFC 5321, 4.5.3.1). */
export const EMAIL_LENGTH_MAX = 254;

/**
 * A plain ASCII address: no quotes, no comments, no white space, nothing that could begin another header or another
 * address. Rarer forms that the standards allow are refused, because accepting them would need a parser of its own.
 */
export const EMAIL_PATTERN =
  /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/i;

/** The sender of a mail, as recipients see it. */
export type Mailbox = { readonly name: string; readonly address: string };

const MAILBOX_PATTERN = /^(?:([\w .-]{1,100}?) *<([^<>]+)>|([^<>]+))$/;

/** Reads `billing@example.com` and `Example Billing <billing@example.com>`. Returns null for anything else. */
export function parseMailbox(text: string): Mailbox | null {
  const match = MAILBOX_PATTERN.exec(text.trim());
  const address = match?.[2] ?? match?.[3] ?? '';
  if (address.length > EMAIL_LENGTH_MAX || !EMAIL_PATTERN.test(address)) return null;
  return { name: match?.[1]?.trim() ?? '', address };
}
