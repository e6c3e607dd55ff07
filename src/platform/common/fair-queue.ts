export type Queued<T> = { readonly owner: string; readonly item: T };

/**
 * Items that wait, in one queue for each owner. Owners are served round robin, one item each; the items of one owner keep
 * their order. So between two items of an owner that waits, every other owner has at most one. It decides the order and
 * nothing else: it knows no clock, no slot and no promise.
 */
export class FairQueue<T> {
  /** In the order in which owners are served. A new owner is put at the end, and so is one that was served. */
  private readonly queues = new Map<string, Set<T>>();
  private count = 0;

  /** Items of all owners. */
  get size(): number {
    return this.count;
  }

  sizeOf(owner: string): number {
    return this.queues.get(owner)?.size ?? 0;
  }

  /** Owners with at least one item. */
  owners(): Iterable<string> {
    return this.queues.keys();
  }

  /** @param item distinct from all others that wait. */
  add(owner: string, item: T): void {
    const queue = this.queues.get(owner) ?? new Set<T>();
    this.queues.set(owner, queue.add(item));
    this.count += 1;
  }

  /** The first item of the next owner, by default of any; null when no owner that waits is eligible. It stays in the queue. */
  peek(isEligible: (owner: string, item: T) => boolean = () => true): Queued<T> | null {
    for (const [owner, queue] of this.queues) {
      for (const item of queue) {
        if (isEligible(owner, item)) return { owner, item };
        break;
      }
    }
    return null;
  }

  /** Takes out an item that is served: its owner goes to the end. */
  take({ owner, item }: Queued<T>): void {
    const queue = this.queues.get(owner);
    if (!this.remove(owner, item) || queue === undefined || queue.size === 0) return;
    this.queues.delete(owner);
    this.queues.set(owner, queue);
  }

  /** Takes out an item that waits no longer: its owner keeps its position. False when the item does not wait. */
  remove(owner: string, item: T): boolean {
    const queue = this.queues.get(owner);
    if (queue?.delete(item) !== true) return false;
    this.count -= 1;
    if (queue.size === 0) this.queues.delete(owner);
    return true;
  }
}
