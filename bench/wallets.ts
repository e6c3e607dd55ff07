export const SPREAD_WALLETS = 10_000;
/** The one wallet that every client debits in the cases called hot follows the others. */
export const HOT_WALLET = SPREAD_WALLETS + 1;

export const accountId = (number: number): string => `acct_${number.toString().padStart(26, '0')}`;
