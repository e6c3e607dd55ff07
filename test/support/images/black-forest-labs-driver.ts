import {
  startSandboxBlackForestLabs,
  type SandboxBlackForestLabs,
  type SandboxBlackForestLabsOptions,
} from 'coffer-sandbox/black-forest-labs/server';

type Parameters = Readonly<Record<string, unknown>>;
type Submitted = {
  readonly id: string;
  readonly polling_url: string;
  readonly cost: number;
  readonly input_mp: number;
  readonly output_mp: number;
};
export type Problem = { readonly loc: readonly unknown[]; readonly type: string; readonly msg: string };
/** Every member that some answer of the simulator has; a test reads those of the answer it expects. */
type AnswerBody = Submitted & {
  readonly status: string;
  readonly result: { readonly sample: string };
  readonly details: unknown;
  readonly detail: readonly Problem[];
};
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: AnswerBody };

export const KEY = { 'x-key': 'bfl_test' };

/** Talks to a simulator as raw HTTP, and replaces it by one with other options when asked to. */
export class BlackForestLabsDriver {
  private constructor(
    private current: SandboxBlackForestLabs,
    private readonly clock: { nowMs: () => number; aheadMs: number },
  ) {}

  static async start(): Promise<BlackForestLabsDriver> {
    const startedAtMs = Date.now();
    const clock = { aheadMs: 0, nowMs: () => startedAtMs + clock.aheadMs };
    return new BlackForestLabsDriver(await startSandboxBlackForestLabs({ instant: true, clock }), clock);
  }

  /** The simulator's time moves in no other way: what is pending stays so, however slow the machine is. */
  letPass(ms: number): void {
    this.clock.aheadMs += ms;
  }

  get sandbox(): SandboxBlackForestLabs {
    return this.current;
  }

  async restart(options: SandboxBlackForestLabsOptions): Promise<void> {
    await this.current.close();
    this.current = await startSandboxBlackForestLabs({
      instant: true,
      clock: this.clock,
      ...options,
    });
  }

  close(): Promise<void> {
    return this.current.close();
  }

  post(body: unknown, headers: Readonly<Record<string, string>> = KEY): Promise<Answer> {
    return request(`${this.current.baseUrl}/v1/flux-2-klein-9b`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  get(url: string, headers: Readonly<Record<string, string>> = KEY): Promise<Answer> {
    return request(url, { headers });
  }

  /** A task for a small picture. */
  async submit(prompt: string, more: Parameters = {}): Promise<Submitted> {
    const answer = await this.post({ prompt, width: 256, height: 128, output_format: 'png', ...more });
    if (answer.status !== 200) throw new Error(`submit answered ${answer.status}`);
    return answer.body;
  }

  /** What the first poll of a new task answers. */
  async resultOf(prompt: string, more: Parameters = {}): Promise<AnswerBody> {
    return (await this.get((await this.submit(prompt, more)).polling_url)).body;
  }

  async download(url: string): Promise<Buffer> {
    return Buffer.from(await (await fetch(url)).arrayBuffer());
  }
}

export async function request(url: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(url, init);
  return { status: response.status, headers: response.headers, body: (await response.json()) as AnswerBody };
}
