import { Logger } from '@nestjs/common';
import type { MonotonicClock } from '../../../platform/common/clock.js';
import type { GenerationObserver } from '../calls/generation-observer.js';
import {
  admit,
  CLOSED_CIRCUIT,
  settle,
  type Circuit,
  type CircuitLimits,
  type CircuitEvent,
} from './circuit-breaker.machine.js';
import type { GenerateContext, ImageProvider, ProviderRequest, ProviderTask } from './image-provider.js';
import { ProviderFailure, type FailureKind } from './provider-failure.js';

const RETRY_AFTER_MAX_SECONDS = 60;

/**
 * A provider over our own account, with a circuit breaker before it. Customers' own keys have none: one customer's
 * refused key must not keep another's calls away. Tasks that run are asked for whatever its state is.
 */
export class GuardedProvider implements ImageProvider {
  private readonly logger = new Logger(GuardedProvider.name);
  private circuit: Circuit = CLOSED_CIRCUIT;

  constructor(
    private readonly provider: ImageProvider,
    private readonly observer: GenerationObserver,
    private readonly limits: () => CircuitLimits,
    private readonly clock: MonotonicClock,
  ) {
    observer.circuitMoved({ provider: this.name, state: this.circuit.state });
  }

  get name(): ImageProvider['name'] {
    return this.provider.name;
  }

  findObstacle(request: ProviderRequest): string | null {
    return this.provider.findObstacle(request);
  }

  /** Throws `unavailable` at once, without asking, while the circuit is open. */
  async generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer> {
    const tell = this.enter();
    const onTask = (task: ProviderTask): void => {
      tell('answered');
      context.onTask(task);
    };
    try {
      const image = await this.provider.generate(request, { ...context, onTask });
      tell('answered');
      return image;
    } catch (error) {
      const kind = error instanceof ProviderFailure ? error.kind : null;
      if (kind === 'account') this.observer.accountAnswered({ provider: this.name, refused: true });
      tell(kind === null ? 'nothing' : NEWS[kind]);
      throw error;
    }
  }

  resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer> {
    return this.provider.resume(task, signal);
  }

  close(): Promise<void> {
    return this.provider.close();
  }

  /** What is answered takes the one word that the call has to say of the provider; a second one is not heard. */
  private enter(): (news: CircuitEvent) => void {
    const { circuit, permit, retryAfterMs } = admit(this.circuit, this.clock.monotonicMs(), this.limits());
    this.become(circuit);
    if (permit === null) {
      const seconds = Math.min(Math.ceil(retryAfterMs / 1_000), RETRY_AFTER_MAX_SECONDS);
      throw new ProviderFailure('unavailable', `the circuit of ${this.name} is open`, {
        retryAfterSeconds: seconds,
      });
    }
    let isReported = false;
    return (news) => {
      if (isReported) return;
      isReported = true;
      if (news === 'answered') this.observer.accountAnswered({ provider: this.name, refused: false });
      this.become(settle(this.circuit, permit, news, this.clock.monotonicMs(), this.limits()));
    };
  }

  private become(circuit: Circuit): void {
    const before = this.circuit.state;
    this.circuit = circuit;
    if (circuit.state === before) return;
    const { state, openings } = circuit;
    this.observer.circuitMoved({ provider: this.name, state });
    const fields = { provider: this.name, openings };
    if (state === 'open') this.logger.error(fields, 'A provider is not asked for a while');
    else if (state === 'closed') this.logger.log(fields, 'A provider is asked again');
  }
}

/** Whether the provider is there and takes us. Total by type: a new kind has to be judged. */
const NEWS: Readonly<Record<FailureKind, CircuitEvent>> = {
  unavailable: 'trouble',
  account: 'trouble',
  // Perhaps only our own queue was full, and the provider was never asked.
  saturated: 'nothing',
  rejected: 'answered',
  moderated: 'answered',
  failed: 'answered',
  lost: 'answered',
  key_rejected: 'answered',
  key_unfunded: 'answered',
};
