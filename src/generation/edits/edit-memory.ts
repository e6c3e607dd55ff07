import { EditsBusyError } from './edit.errors.js';

/**
 * What the bodies and images of all edits under way in this process may weigh together: 256 MiB are sixty edits of an
 * ordinary photo, and with the copies that parsing and sending make, well below a gigabyte.
 */
export const EDIT_BYTES_MAX = 256 * 1_048_576;
/** Of one account, so that none can keep the others out: four of the largest bodies, or six images being fetched. */
export const EDIT_BYTES_PER_ACCOUNT_MAX = 128 * 1_048_576;

export type Reservation = {
  /** Gives back all but so many bytes. It never takes more. */
  readonly shrinkTo: (bytes: number) => void;
  readonly release: () => void;
};

/** Counts the memory that edits hold. Bytes are set aside before a body is read, and given back when its call is over. */
export class EditMemory {
  private total = 0;
  private readonly ofAccounts = new Map<string, number>();

  /** Throws `EditsBusyError` (429) when there is not so much left. */
  reserve(accountId: string, bytes: number): Reservation {
    if (this.total + bytes > EDIT_BYTES_MAX) throw new EditsBusyError();
    if ((this.ofAccounts.get(accountId) ?? 0) + bytes > EDIT_BYTES_PER_ACCOUNT_MAX)
      throw new EditsBusyError();
    let held = 0;
    const shrinkTo = (kept: number): void => {
      if (kept < held) held += this.add(accountId, kept - held);
    };
    held = this.add(accountId, bytes);
    return { shrinkTo, release: () => shrinkTo(0) };
  }

  /** What is set aside at the moment. */
  get bytes(): number {
    return this.total;
  }

  private add(accountId: string, bytes: number): number {
    this.total += bytes;
    const ofAccount = (this.ofAccounts.get(accountId) ?? 0) + bytes;
    if (ofAccount > 0) this.ofAccounts.set(accountId, ofAccount);
    else this.ofAccounts.delete(accountId);
    return bytes;
  }
}
