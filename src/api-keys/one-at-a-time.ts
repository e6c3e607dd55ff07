/** Runs tasks of one name one after the other, in the order in which they came; those of different names concurrently. */
export class OneAtATime {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Settles as the task does. A task that fails does not hold up the next. */
  async run<T>(name: string, task: () => Promise<T>): Promise<T> {
    const before = this.last.get(name) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.last.set(name, mine);
    try {
      return await mine;
    } finally {
      if (this.last.get(name) === mine) this.last.delete(name);
    }
  }
}
