export type Queued<T> = { readonly owner: string; readonly item: T };

/**
 * Waiting items, in one queue for each owner. Owners are served round robin, one item each; the items of one owner keep
 * their order. So between two items of a waiting owner, every other owner has at most one. This class decides only the
 * order: it knows no clock, no slots and no promises.
 */
export class FairQueue<T> {
  /** In the order in which owners are served. A new owner is added at the end, and an owner that was served moves there. */
  private readonly queues = new Map<string, Set<T>>();
  private count = 0;

  /** The number of items of all owners. */
  get size(): number {
    return this.count;
  }

  sizeOf(owner: string): number {
    return this.queues.get(owner)?.size ?? 0;
  }

  /** The owners with at least one item. */
  owners(): Iterable<string> {
    return this.queues.keys();
  }

  /** @param item must be distinct from all other waiting items. */
  add(owner: string, item: T): void {
    const queue = this.queues.get(owner) ?? new Set<T>();
    this.queues.set(owner, queue.add(item));
    this.count += 1;
  }

  /** Returns the first item of the next owner, or of the next eligible owner; null when there is none. It stays in the queue. */
  peek(isEligible: (owner: string, item: T) => boolean = () => true): Queued<T> | null {
    for (const [owner, queue] of this.queues) {
      for (const item of queue) {
        if (isEligible(owner, item)) return { owner, item };
        break;
      }
    }
    return null;
  }

  /** Removes an item that is served: its owner moves to the end. */
  take({ owner, item }: Queued<T>): void {
    const queue = this.queues.get(owner);
    if (!this.remove(owner, item) || queue === undefined || queue.size === 0) return;
    this.queues.delete(owner);
    this.queues.set(owner, queue);
  }

  /** Removes an item that no longer waits: its owner keeps its position. Returns false when the item is not in the queue. */
  remove(owner: string, item: T): boolean {
    const queue = this.queues.get(owner);
    if (queue?.delete(item) !== true) return false;
    this.count -= 1;
    if (queue.size === 0) this.queues.delete(owner);
    return true;
  }
}
