import { FairWaiting, WaitedTooLongError } from '../../../platform/common/fair-waiting.js';
import { EditsBusyError } from './edit.errors.js';

/**
 * What the bodies and images of all edits under way in this process may weigh together: 256 MiB are sixty edits of an
 * ordinary photo, and with the copies that parsing and sending make, well below a gigabyte.
 */
export const EDIT_BYTES_MAX = 256 * 1_048_576;
/** Of one account: two of the largest bodies. Three accounts that use all of it leave as much for the others. */
export const EDIT_BYTES_PER_ACCOUNT_MAX = 64 * 1_048_576;
/** Edits of one account that may wait for capacity. Each holds a connection, and nothing of its body. */
export const EDITS_WAITING_PER_ACCOUNT_MAX = 16;
/** Of all accounts together. */
export const EDITS_WAITING_MAX = 256;
/** About as long as an edit of the same account takes to end. */
const ENTRY_WAIT_MAX_MS = 10_000;

type Use = {
  /** What has come. */
  heldBytes: number;
  /** For each edit what it has announced or what has come, whichever is more. */
  claimedBytes: number;
};

/**
 * Counts the memory that edits hold. What a client announces counts for its own account only, so nothing is gained by
 * announcing much and sending little. What has come counts for all, and no account may hold more than it leaves free: the more
 * accounts there are, the less each may hold, and a new one always finds some.
 *
 * An edit waits before the first byte of its body is read, accounts in turn. Afterwards it never waits for memory, because
 * it holds what others wait for: it grows at once or is refused.
 */
export class EditMemory {
  private heldBytes = 0;
  private readonly uses = new Map<string, Use>();
  private readonly waiting = new FairWaiting<Reservation>();

  /** What has come, of all edits. */
  get bytes(): number {
    return this.heldBytes;
  }

  /** Edits that wait. */
  get waitingCount(): number {
    return this.waiting.size;
  }

  /**
   * Resolves when the body may be read.
   *
   * @param announcedBytes the length of the body, or the most that it may be.
   * @param signal aborts when the client is gone; then its reason is thrown.
   * @throws EditsBusyError (429) when too many edits wait already, or this one would wait too long.
   */
  async enter(owner: string, announcedBytes: number, signal?: AbortSignal): Promise<Reservation> {
    const isFull =
      this.waiting.sizeOf(owner) >= EDITS_WAITING_PER_ACCOUNT_MAX || this.waiting.size >= EDITS_WAITING_MAX;
    if (isFull) throw new EditsBusyError();
    const change = (bytes: Use): void => this.change(owner, bytes);
    const reservation = new Reservation(announcedBytes, change, (bytes) =>
      this.refuseBeyondShare(owner, bytes),
    );
    const wait = signal === undefined ? { maxMs: ENTRY_WAIT_MAX_MS } : { maxMs: ENTRY_WAIT_MAX_MS, signal };
    const admitted = this.waiting.wait(owner, reservation, wait);
    this.admitWaiting();
    await admitted.catch((error: unknown) => {
      throw error instanceof WaitedTooLongError ? new EditsBusyError() : error;
    });
    return reservation;
  }

  private admitWaiting(): void {
    for (;;) {
      const next = this.waiting.next((owner, { announcedBytes }) => this.fits(owner, announcedBytes));
      if (next === null) return;
      next.wish.open();
      next.admit();
    }
  }

  /**
   * Whether its account may claim it, and hold all of it while it leaves as much free. An edit that does not fit is passed over:
   * a large one must not keep small ones of other accounts waiting.
   */
  private fits(owner: string, announcedBytes: number): boolean {
    const { claimedBytes = 0 } = this.uses.get(owner) ?? {};
    return (
      claimedBytes + announcedBytes <= EDIT_BYTES_PER_ACCOUNT_MAX &&
      this.heldBytes + 2 * announcedBytes <= EDIT_BYTES_MAX
    );
  }

  private refuseBeyondShare(owner: string, bytes: Use): void {
    const { heldBytes = 0, claimedBytes = 0 } = this.uses.get(owner) ?? {};
    const freeBytes = EDIT_BYTES_MAX - this.heldBytes - bytes.heldBytes;
    const isBeyond =
      claimedBytes + bytes.claimedBytes > EDIT_BYTES_PER_ACCOUNT_MAX ||
      heldBytes + bytes.heldBytes > freeBytes;
    if (isBeyond) throw new EditsBusyError();
  }

  private change(owner: string, bytes: Use): void {
    const { heldBytes = 0, claimedBytes = 0 } = this.uses.get(owner) ?? {};
    const use = {
      heldBytes: heldBytes + bytes.heldBytes,
      claimedBytes: claimedBytes + bytes.claimedBytes,
    };
    this.heldBytes += bytes.heldBytes;
    if (use.claimedBytes > 0) this.uses.set(owner, use);
    else this.uses.delete(owner);
    if (bytes.heldBytes < 0 || bytes.claimedBytes < 0) this.admitWaiting();
  }
}

/** The memory of one edit. */
export class Reservation {
  private heldBytes = 0;
  private claimedBytes = 0;

  constructor(
    readonly announcedBytes: number,
    private readonly change: (bytes: Use) => void,
    private readonly refuseBeyondShare: (bytes: Use) => void,
  ) {}

  open(): void {
    this.set({ heldBytes: 0, claimedBytes: this.announcedBytes });
  }

  /** Sets aside bytes that have come. Throws `EditsBusyError` (429) when the account may not hold so many more. */
  grow(bytes: number): void {
    const heldBytes = this.heldBytes + bytes;
    const use = { heldBytes, claimedBytes: Math.max(this.claimedBytes, heldBytes) };
    this.refuseBeyondShare(this.differenceTo(use));
    this.set(use);
  }

  /** The body has come: gives back all but so many bytes, and what was announced. It never takes more. */
  shrinkTo(bytes: number): void {
    const heldBytes = Math.min(this.heldBytes, bytes);
    this.set({ heldBytes, claimedBytes: heldBytes });
  }

  release(): void {
    this.shrinkTo(0);
  }

  private set(use: Use): void {
    const difference = this.differenceTo(use);
    this.heldBytes = use.heldBytes;
    this.claimedBytes = use.claimedBytes;
    this.change(difference);
  }

  private differenceTo({ heldBytes, claimedBytes }: Use): Use {
    return { heldBytes: heldBytes - this.heldBytes, claimedBytes: claimedBytes - this.claimedBytes };
  }
}
