import { FairWaiting, WaitedTooLongError } from '../../../platform/common/fair-slots.js';
import { EditsBusyError } from './edit.errors.js';

/**
 * The memory that the bodies and images of all running edits in this process may use together. 256 MiB are sixty edits of a typical
 * photo and, with the copies that parsing and sending make, well below a gigabyte.
 */
export const EDIT_BYTES_MAX = 256 * 1_048_576;
/** The part that one account may use: two of the largest bodies. Three accounts that use all of it leave as much for the others. */
export const EDIT_BYTES_PER_ACCOUNT_MAX = 64 * 1_048_576;
/** How many edits of one account may wait for memory. Each holds a connection, but nothing of its body is read yet. */
export const EDITS_WAITING_PER_ACCOUNT_MAX = 16;
/** How many edits of all accounts together may wait. */
export const EDITS_WAITING_MAX = 256;
/** About as long as an edit takes, so that one of the same account has probably ended by then. */
const ENTRY_WAIT_MAX_MS = 10_000;

type Use = {
  /** The bytes that have arrived. */
  heldBytes: number;
  /** The sum over all edits of the bytes that were announced or have arrived, whichever is more. */
  claimedBytes: number;
};

/**
 * Counts the memory that edits hold. Announced bytes count for the client's own account only, so announcing much and sending little
 * has no advantage. Bytes that have arrived count for all, and no account may hold more than it leaves free: the more accounts there
 * are, the less each may hold, and a new account always finds some memory.
 *
 * An edit waits before the first byte of its body is read, and accounts are admitted in turn. Afterwards it never waits, because it
 * holds memory that others wait for: it gets more memory at once or is refused.
 */
export class EditMemory {
  private heldBytes = 0;
  private readonly uses = new Map<string, Use>();
  private readonly waiting = new FairWaiting<Reservation>();

  /** The bytes of all edits that have arrived. */
  get bytes(): number {
    return this.heldBytes;
  }

  /** How many edits wait. */
  get waitingCount(): number {
    return this.waiting.size;
  }

  /**
   * Resolves when the body may be read.
   *
   * @param announcedBytes the length of the body, or the largest length that is allowed.
   * @param signal aborts when the client has disconnected; then its reason is thrown.
   * @throws EditsBusyError (429) when too many edits wait already, or this one has waited too long.
   */
  async enter(owner: string, announcedBytes: number, signal?: AbortSignal): Promise<Reservation> {
    const isFull =
      this.waiting.countFor(owner) >= EDITS_WAITING_PER_ACCOUNT_MAX || this.waiting.size >= EDITS_WAITING_MAX;
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
   * Whether the account may claim this many bytes, and hold all of them while as much stays free. An edit that does not fit is
   * skipped, so that a large one does not delay small ones of other accounts.
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

/** The memory that is reserved for one edit. */
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

  /** Counts bytes that have arrived. Throws `EditsBusyError` (429) when the account may not hold that many more. */
  grow(bytes: number): void {
    const heldBytes = this.heldBytes + bytes;
    const use = { heldBytes, claimedBytes: Math.max(this.claimedBytes, heldBytes) };
    this.refuseBeyondShare(this.differenceTo(use));
    this.set(use);
  }

  /** Called when the body is complete: releases all but this many bytes, and the announced ones. It never reserves more. */
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
