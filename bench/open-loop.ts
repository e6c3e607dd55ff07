/**
 * Open loop: calls start at their times whether or not earlier ones have answered, and each is timed from
 * when it should have started, so a stall is charged to every call that it delayed.
 */
export type Latencies = { readonly p50Ms: number; readonly p99Ms: number; readonly calls: number };

export async function openLoop(
  options: {
    readonly callsPerSecond: number;
    readonly seconds: number;
    /** Calls of this long come first and are not counted: whoever paused opens its sockets again. */
    readonly leadInSeconds?: number;
  },
  call: (index: number) => Promise<void>,
): Promise<Latencies> {
  const uncounted = options.callsPerSecond * (options.leadInSeconds ?? 0);
  const total = uncounted + options.callsPerSecond * options.seconds;
  const startedAt = performance.now() + 50;
  const timings: number[] = [];
  const failures: unknown[] = [];
  const pending: Promise<void>[] = [];
  for (let index = 0; index < total; index += 1) {
    const dueAt = startedAt + (index * 1_000) / options.callsPerSecond;
    const waitMs = dueAt - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    pending.push(
      call(index).then(
        () => {
          if (index >= uncounted) timings.push(performance.now() - dueAt);
        },
        (error: unknown) => void failures.push(error),
      ),
    );
  }
  await Promise.all(pending);
  if (failures.length > 0) throw new Error(`${failures.length} calls failed, first: ${String(failures[0])}`);
  return latenciesOf(timings);
}

export function latenciesOf(timings: readonly number[]): Latencies {
  const sorted = [...timings].sort((a, b) => a - b);
  return { p50Ms: at(sorted, 0.5), p99Ms: at(sorted, 0.99), calls: sorted.length };
}

function at(sorted: readonly number[], quantile: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))] ?? Number.NaN;
}
