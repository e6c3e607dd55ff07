import { randomBytes, randomUUID } from 'node:crypto';
import { TROUBLED_POLLS, type RequestTrouble, type TaskEnding, type TaskPlan } from './faults.js';
import type { SubmitParameters } from './submit-parameters.js';

export type Task = {
  readonly id: string;
  /** Whose task it is: to any other key it is unknown. */
  readonly apiKey: string;
  readonly parameters: SubmitParameters;
  readonly seed: number;
  readonly plan: TaskPlan;
  readonly createdAtMs: number;
  /** Infinity for a task that never ends. */
  readonly readyAtMs: number;
  /** The unguessable part of the result's URL, which needs no key. */
  readonly token: string;
  polls: number;
};

/** At 200 tasks a second the oldest are forgotten after more than eight minutes. */
const TASKS_MAX = 100_000;

/** What became of every submitted image; the clock alone moves a task from pending to its ending. */
export class Tasks {
  private readonly tasks = new Map<string, Task>();

  create(
    apiKey: string,
    parameters: SubmitParameters,
    plan: TaskPlan,
    latencyMs: number,
    nowMs: number,
  ): Task {
    const endsMs = plan.ending === 'Pending' ? Number.POSITIVE_INFINITY : (plan.latencyMs ?? latencyMs);
    const task: Task = {
      id: randomUUID(),
      apiKey,
      parameters,
      seed: parameters.seed ?? randomBytes(4).readUInt32BE(),
      plan,
      createdAtMs: nowMs,
      readyAtMs: nowMs + endsMs,
      token: randomBytes(9).toString('base64url'),
      polls: 0,
    };
    this.tasks.set(task.id, task);
    const [oldest] = this.tasks.keys();
    if (this.tasks.size > TASKS_MAX && oldest !== undefined) this.tasks.delete(oldest);
    return task;
  }

  get(id: string): Task | undefined {
    return this.tasks.get(id);
  }
}

export function statusOf(task: Task, nowMs: number): TaskEnding {
  // An upstream that has lost a task never showed it as pending either.
  if (task.plan.ending === 'Task not found') return 'Task not found';
  return nowMs < task.readyAtMs ? 'Pending' : task.plan.ending;
}

/** Counts the poll, and answers the trouble that it meets. */
export function nextPollTrouble(task: Task): RequestTrouble | null {
  task.polls += 1;
  return task.polls <= TROUBLED_POLLS ? task.plan.poll : null;
}
