import { problem, UpstreamHttpError } from './http-error.js';

/** How a task ends. `Pending` is a task that never does. */
export type TaskEnding =
  'Content Moderated' | 'Error' | 'Pending' | 'Ready' | 'Request Moderated' | 'Task not found';

/**
 * - a status: answered with it;
 * - `hang`: never answered;
 * - `reset`: the connection breaks instead of an answer;
 * - `lost` (submit only): the task is made and charged, and then the connection breaks.
 */
export type RequestTrouble = number | 'hang' | 'lost' | 'reset';

/** What is wrong with the downloaded bytes, which are announced as a whole picture. */
export type ByteFault = 'not_image' | 'truncated' | 'wrong_size';

/** Everything that happens to one task. */
export type TaskPlan = {
  readonly ending: TaskEnding;
  /** Overrides the simulator's latency; null keeps it. */
  readonly latencyMs: number | null;
  readonly submit: RequestTrouble | null;
  /** Hits the first three polls; after them the task goes on as planned. */
  readonly poll: RequestTrouble | null;
  readonly download: RequestTrouble | null;
  readonly bytes: ByteFault | null;
};

export const NO_FAULT: TaskPlan = {
  ending: 'Ready',
  latencyMs: null,
  submit: null,
  poll: null,
  download: null,
  bytes: null,
};

/** Trouble with polls ends, so that a client which goes on asking finds the task. */
export const TROUBLED_POLLS = 3;

const LATENCY_MAX_MS = 600_000;

type Directive = (value: string) => Partial<TaskPlan> | null;

/** One language for prompts, the control object and the control route. */
const DIRECTIVES: Readonly<Record<string, Directive>> = {
  content_moderated: flag({ ending: 'Content Moderated' }),
  download: (value) => trouble(value, ['hang', 'reset'], (download) => ({ download })),
  error: flag({ ending: 'Error' }),
  hang: flag({ ending: 'Pending' }),
  moderated: flag({ ending: 'Request Moderated' }),
  not_found: flag({ ending: 'Task not found' }),
  not_image: flag({ bytes: 'not_image' }),
  poll: (value) => trouble(value, ['hang', 'reset'], (poll) => ({ poll })),
  result_404: flag({ download: 404 }),
  slow: (value) => {
    const latencyMs = /^[0-9]{1,6}$/.test(value) ? Number(value) : Number.NaN;
    return latencyMs <= LATENCY_MAX_MS ? { latencyMs } : null;
  },
  submit: (value) => trouble(value, ['hang', 'lost', 'reset'], (submit) => ({ submit })),
  truncated: flag({ bytes: 'truncated' }),
  wrong_size: flag({ bytes: 'wrong_size' }),
};

function flag(plan: Partial<TaskPlan>): Directive {
  return (value) => (value === '' ? plan : null);
}

function trouble(
  value: string,
  words: readonly RequestTrouble[],
  plan: (trouble: RequestTrouble) => Partial<TaskPlan>,
): Partial<TaskPlan> | null {
  const word = words.find((candidate) => candidate === value);
  if (word !== undefined) return plan(word);
  return /^[45][0-9]{2}$/.test(value) ? plan(Number(value)) : null;
}

export type ParsedDirective = {
  readonly plan: Partial<TaskPlan>;
  /** 3 hits the third, sixth … task of the same prompt: how one image of several fails. */
  readonly every: number;
};

const EVERY_PATTERN = /^([^,]*?)(?:,\s*every=([1-9][0-9]{0,3}))?$/;

/** Reads `error`, `slow=5000` or `submit=503, every=3`; null when it is none of these. */
export function parseDirective(text: string): ParsedDirective | null {
  const [, body = '', every = '1'] = EVERY_PATTERN.exec(text.trim()) ?? [];
  const [name = '', ...values] = body.trim().split('=');
  const directive = Object.hasOwn(DIRECTIVES, name) ? DIRECTIVES[name] : undefined;
  const plan = directive?.(values.join('=')) ?? null;
  return plan === null ? null : { plan, every: Number(every) };
}

/** `a cat [sandbox:slow=5000] [sandbox:error]` -> the two directives. Throws 422 for a misspelt one. */
export function directivesIn(prompt: string): readonly ParsedDirective[] {
  return Array.from(prompt.matchAll(/\[sandbox:([^\]]*)\]/g), ([, text = '']) => {
    const directive = parseDirective(text);
    if (directive !== null) return directive;
    const known = Object.keys(DIRECTIVES).join(', ');
    throw new UpstreamHttpError(422, [
      problem(
        'sandbox_directive',
        ['body', 'prompt'],
        `unknown directive [sandbox:${text}]; known are ${known}`,
      ),
    ]);
  });
}

type Standing = { readonly plan: Partial<TaskPlan>; timesLeft: number };

/** Counts of prompts are kept for this many different ones; the oldest is forgotten. */
const PROMPTS_MAX = 1_000;

/** Decides what happens to each task: standing faults of the control object first, then the prompt's own. */
export class FaultPlanner {
  private standing: Standing[] = [];
  private readonly counts = new Map<string, number>();

  /** The next `times` tasks, or all until `clear()`. Throws `RangeError` on a misspelt directive. */
  add(directive: string, times = Number.POSITIVE_INFINITY): void {
    const parsed = parseDirective(directive);
    if (parsed === null) throw new RangeError(`unknown directive '${directive}'`);
    this.standing.push({ plan: parsed.plan, timesLeft: times });
  }

  clear(): void {
    this.standing = [];
  }

  /** Throws `UpstreamHttpError` 422 when the prompt holds a misspelt directive. */
  planFor(prompt: string): TaskPlan {
    if (this.standing.length === 0 && !prompt.includes('[sandbox:')) return NO_FAULT;
    const directives = directivesIn(prompt);
    const count = directives.length === 0 ? 0 : this.countOf(prompt);
    const own = directives.filter(({ every }) => count % every === 0).map(({ plan }) => plan);
    const standing = this.standing.map((fault) => {
      fault.timesLeft -= 1;
      return fault.plan;
    });
    this.standing = this.standing.filter(({ timesLeft }) => timesLeft > 0);
    return Object.assign({ ...NO_FAULT }, ...standing, ...own) as TaskPlan;
  }

  private countOf(prompt: string): number {
    const count = (this.counts.get(prompt) ?? 0) + 1;
    this.counts.delete(prompt);
    this.counts.set(prompt, count);
    const [oldest] = this.counts.keys();
    if (this.counts.size > PROMPTS_MAX && oldest !== undefined) this.counts.delete(oldest);
    return count;
  }
}
