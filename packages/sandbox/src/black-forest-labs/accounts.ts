/** One API key's account at the simulator. */
export type UpstreamAccount = {
  /** Thousandths of a credit. */
  balanceMillicredits: number;
  usedMillicredits: number;
  submits: number;
  /** When the tasks that still work will be done; only kept while there is a limit. */
  activeUntilMs: number[];
};

/** Keys are remembered for this many accounts; the oldest is forgotten. */
const ACCOUNTS_MAX = 10_000;

/** Every key has an account of its own, made when it is first seen. */
export class UpstreamAccounts {
  private readonly accounts = new Map<string, UpstreamAccount>();

  constructor(
    /** Null accepts every key that does not contain `invalid`. */
    private readonly acceptedKeys: Set<string> | null,
    private readonly startMillicredits: number,
  ) {}

  accept(key: string): void {
    this.acceptedKeys?.add(key);
  }

  /** Returns null for a key that the simulator refuses. */
  find(key: string): UpstreamAccount | null {
    const accepted = this.acceptedKeys?.has(key) ?? !key.includes('invalid');
    return accepted ? this.of(key) : null;
  }

  of(key: string): UpstreamAccount {
    const existing = this.accounts.get(key);
    if (existing !== undefined) return existing;
    const account: UpstreamAccount = {
      balanceMillicredits: this.startMillicredits,
      usedMillicredits: 0,
      submits: 0,
      activeUntilMs: [],
    };
    this.accounts.set(key, account);
    const [oldest] = this.accounts.keys();
    if (this.accounts.size > ACCOUNTS_MAX && oldest !== undefined) this.accounts.delete(oldest);
    return account;
  }
}

/** Forgets the tasks that are done and answers how many still work. */
export function countActive(account: UpstreamAccount, nowMs: number): number {
  account.activeUntilMs = account.activeUntilMs.filter((untilMs) => untilMs > nowMs);
  return account.activeUntilMs.length;
}
