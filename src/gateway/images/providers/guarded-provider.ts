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
 * A provider with our own account, protected by a circuit breaker. Customers' own keys have no circuit breaker, because one
 * customer's refused key must not stop the calls of others. Running tasks are polled in every state.
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

  /** Throws `unavailable` at once, without asking the provider, while the circuit is open. */
  async generate(request: ProviderRequest, context: GenerateContext): Promise<Buffer> {
    const report = this.enter();
    const onTask = (task: ProviderTask): void => {
      report('answered');
      context.onTask(task);
    };
    try {
      const image = await this.provider.generate(request, { ...context, onTask });
      report('answered');
      return image;
    } catch (error) {
      const kind = error instanceof ProviderFailure ? error.kind : null;
      if (kind === 'account') this.observer.accountAnswered({ provider: this.name, refused: true });
      report(kind === null ? 'nothing' : CIRCUIT_EVENTS[kind]);
      throw error;
    }
  }

  resume(task: ProviderTask, signal: AbortSignal): Promise<Buffer> {
    return this.provider.resume(task, signal);
  }

  close(): Promise<void> {
    return this.provider.close();
  }

  /** Admits a call, and returns the function that reports its outcome. Only the first report counts. */
  private enter(): (event: CircuitEvent) => void {
    const { circuit, permit, retryAfterMs } = admit(this.circuit, this.clock.monotonicMs(), this.limits());
    this.become(circuit);
    if (permit === null) {
      const seconds = Math.min(Math.ceil(retryAfterMs / 1_000), RETRY_AFTER_MAX_SECONDS);
      throw new ProviderFailure('unavailable', `the circuit of ${this.name} is open`, {
        retryAfterSeconds: seconds,
      });
    }
    let isReported = false;
    return (event) => {
      if (isReported) return;
      isReported = true;
      if (event === 'answered') this.observer.accountAnswered({ provider: this.name, refused: false });
      this.become(settle(this.circuit, permit, event, this.clock.monotonicMs(), this.limits()));
    };
  }

  private become(circuit: Circuit): void {
    const before = this.circuit.state;
    this.circuit = circuit;
    if (circuit.state === before) return;
    const { state, openings } = circuit;
    this.observer.circuitMoved({ provider: this.name, state });
    const fields = { provider: this.name, openings };
    if (state === 'open') {
      this.logger.error(
        { event: 'circuit_breaker.opened', ...fields },
        'A provider is failing and is not asked for now',
      );
    } else if (state === 'closed') {
      this.logger.log({ event: 'circuit_breaker.closed', ...fields }, 'A provider works again');
    }
  }
}

/** What each failure shows about the provider. The type is total, so a new kind does not compile until it is decided here. */
const CIRCUIT_EVENTS: Readonly<Record<FailureKind, CircuitEvent>> = {
  unavailable: 'trouble',
  account: 'trouble',
  // Perhaps our own queue was full and the provider was never asked.
  saturated: 'nothing',
  rejected: 'answered',
  moderated: 'answered',
  failed: 'answered',
  lost: 'answered',
  key_rejected: 'answered',
  key_unfunded: 'answered',
};
