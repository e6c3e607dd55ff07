import type { AccountBooks, TaskRow } from './books.js';
import { inParallel } from './in-parallel.js';
import { RUNNING_DRY_CREDITS, type MixedPlan } from './plan.js';
import { isRefused, isRunningDry, PLENTY_CREDITS, type CastAccount, type MixedStage } from './stage.js';

/** What the simulator takes for a picture of up to a megapixel, in thousandths of a credit. */
const MILLICREDITS_A_TASK = 1_500;
/** More, when it has reference images of up to a megapixel together. */
const MILLICREDITS_OF_REFERENCES = 200;
/** The simulator forgets the oldest of a hundred thousand tasks; the newest are asked after one by one. */
const ASKED_TASKS_MAX = 3_000;
const AT_ONCE = 32;

type Answered = { readonly account: CastAccount; readonly books: AccountBooks };
type OwnedTask = TaskRow & {
  readonly taskId: string;
  readonly key: string;
  readonly isLostOnPurpose: boolean;
};

/**
 * Holds what the database says against what the simulator itself knows: how many tasks each key was charged for, and
 * under which key a task was made. A customer's call over our key would be found, and so would the reverse.
 */
export async function hearUpstream(
  stage: MixedStage,
  plan: MixedPlan,
  all: readonly Answered[],
): Promise<string[]> {
  const faults: string[] = [];
  const calls = new Map(plan.calls.map((call) => [call.name, call]));
  const named = new Map<string, number>();
  const silent = new Map<string, number>();
  const owned: OwnedTask[] = [];
  for (const { account, books } of all) {
    const rows = new Map(books.generations.map((row) => [row.id, row]));
    for (const task of books.tasks) {
      const row = rows.get(task.generationId);
      if (row === undefined) {
        faults.push(`a task of ${task.generationId}, which is not there`);
        continue;
      }
      const key = row.providerKeyId === null ? stage.upstreamKey : (account.providerKey ?? '');
      if ((task.cost !== null) !== (row.providerKeyId === null && task.taskId !== null)) {
        faults.push(`${row.id} (${row.providerKeyId ?? 'ours'}) cost us ${task.cost}`);
      }
      const call = calls.get(row.name);
      const price = MILLICREDITS_A_TASK + ((call?.references ?? 0) > 0 ? MILLICREDITS_OF_REFERENCES : 0);
      // The connection broke after the task was made, so no one knows its name: it was charged for all the same.
      const isSilent = task.taskId === null && call?.prompt.includes('submit=lost') === true;
      if (task.taskId !== null) add(named, key, price);
      else if (isSilent) add(silent, key, price);
      if (task.taskId === null) continue;
      const isLostOnPurpose = call?.prompt.includes('not_found') === true;
      owned.push({ ...task, taskId: task.taskId, key, isLostOnPurpose });
    }
  }
  await judgeCharges(stage, all, { named, silent }, faults);
  const newest = owned.sort((a, b) => b.createdAtMs - a.createdAtMs).slice(0, ASKED_TASKS_MAX);
  await inParallel(newest, AT_ONCE, async ({ taskId, key, isLostOnPurpose, generationId }) => {
    const found = await ask(stage, `/us1/v1/get_result?id=${taskId}`, key);
    if (found['status'] === 'Task not found' && !isLostOnPurpose) {
      faults.push(`task ${taskId} of ${generationId} was not made under ${key}`);
    }
  });
  return faults;
}

/** Millicredits by key. */
type Counts = {
  readonly named: ReadonlyMap<string, number>;
  readonly silent: ReadonlyMap<string, number>;
};

async function judgeCharges(
  stage: MixedStage,
  all: readonly Answered[],
  { named, silent }: Counts,
  faults: string[],
): Promise<void> {
  const keys = new Map([[stage.upstreamKey, PLENTY_CREDITS]]);
  for (const { account } of all) {
    const { providerKey, kind } = account;
    if (providerKey === null) continue;
    if (isRefused(kind)) {
      if ((named.get(providerKey) ?? 0) > 0) faults.push(`tasks under ${providerKey}, which is refused`);
      continue;
    }
    const credits = kind === 'byok_unfunded' ? 0 : isRunningDry(kind) ? RUNNING_DRY_CREDITS : PLENTY_CREDITS;
    keys.set(providerKey, credits);
  }
  for (const [key, credits] of keys) {
    const { credits: left } = await ask(stage, '/v1/credits', key);
    const used = Math.round((credits - Number(left)) * 1_000);
    const least = named.get(key) ?? 0;
    const most = least + (silent.get(key) ?? 0);
    // An account that runs dry refuses some of the submits whose answer was to be lost.
    const isExact = credits === PLENTY_CREDITS;
    if (used > most || used < (isExact ? most : least)) {
      faults.push(`${key} was charged ${used} millicredits, the receipts know of ${least} to ${most}`);
    }
  }
}

function add(sums: Map<string, number>, key: string, millicredits: number): void {
  sums.set(key, (sums.get(key) ?? 0) + millicredits);
}

async function ask({ upstreamUrl }: MixedStage, path: string, key: string): Promise<Record<string, unknown>> {
  const answer = await fetch(new URL(path, upstreamUrl), { headers: { 'x-key': key } });
  return (await answer.json()) as Record<string, unknown>;
}
