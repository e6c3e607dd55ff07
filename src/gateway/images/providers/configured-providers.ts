import { Inject, Injectable, Optional, type OnApplicationShutdown, Logger } from '@nestjs/common';
import { CLOCK, type MonotonicClock } from '../../../platform/common/clock.js';
import { BFL_ACTIVE_TASKS_DEFAULT, SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../calls/generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from '../calls/generation-observer.js';
import { ProviderKeyUnreadableError } from '../../provider-keys/provider-key.errors.js';
import type { SealedProviderKey } from '../../provider-keys/provider-key.js';
import { ProviderKeyVaultService } from '../../provider-keys/provider-key-vault.service.js';
import type { ProviderSource } from '../calls/image-maker.service.js';
import type { Generation } from '../calls/records/generation.js';
import { BlackForestLabsProvider, taskSlotLimits } from './black-forest-labs.provider.js';
import { CloudflareWorkersAiDialect } from './cloudflare-workers-ai.dialect.js';
import { CustomerSlots, UpstreamHttp } from './upstream-http.js';
import {
  type CustomerKey,
  type ImageProvider,
  type ImageProviders,
  type KeyedImageProvider,
  type ProviderName,
  IMAGE_PROVIDERS,
  type GenerateContext,
  type ProviderRequest,
  type ProviderTask,
} from './image-provider.js';
import { OpenAiCompatibleDialect } from './openai-compatible.dialect.js';
import { SynchronousProvider } from './synchronous.provider.js';
import { ProviderFailure, type FailureKind } from './provider-failure.js';
import {
  admit,
  CLOSED_CIRCUIT,
  settle,
  type Circuit,
  type CircuitLimits,
  type CircuitEvent,
} from './circuit-breaker.machine.js';

/** The providers in the settings, with our own upstream account (protected by a circuit breaker) or with a customer's. */
@Injectable()
export class ConfiguredProviders implements ImageProviders, OnApplicationShutdown {
  private readonly byName = new Map<ProviderName, ImageProvider>();
  /** BYOK calls have separate connections, so that they and wallet-funded calls do not take connections from each other. */
  private readonly customersHttp = new UpstreamHttp();
  /** The provider's default limit for an account, because a customer's larger plan is not known here. */
  private readonly customerSlots = new CustomerSlots(taskSlotLimits(BFL_ACTIVE_TASKS_DEFAULT));

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(GENERATION_LIMITS) private readonly limits: Pick<GenerationLimits, 'circuit'>,
    @Inject(CLOCK) private readonly clock: MonotonicClock,
  ) {
    const { blackForestLabs, cloudflare, openAiCompatible } = settings;
    if (blackForestLabs !== null) this.add(new BlackForestLabsProvider(blackForestLabs));
    if (cloudflare !== null) this.add(new SynchronousProvider(new CloudflareWorkersAiDialect(cloudflare)));
    if (openAiCompatible !== null) {
      this.add(new SynchronousProvider(new OpenAiCompatibleDialect(openAiCompatible)));
    }
  }

  get(name: ProviderName): ImageProvider | undefined {
    return this.byName.get(name);
  }

  /** Customers' keys are supported for Black Forest Labs only (`KEYED_PROVIDERS`). */
  over(name: ProviderName, { id, secret }: CustomerKey): KeyedImageProvider | undefined {
    const { blackForestLabs } = this.settings;
    if (blackForestLabs === null || name !== 'black_forest_labs') return undefined;
    return new BlackForestLabsProvider(
      { ...blackForestLabs, apiKey: secret },
      {
        owner: 'customer',
        http: this.customersHttp,
        slots: { run: (request, work, waitMaxMs) => this.customerSlots.run(id, request, work, waitMaxMs) },
      },
    );
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([...this.byName.values(), this.customersHttp].map((part) => part.close()));
  }

  private add(provider: ImageProvider): void {
    const guarded = new GuardedProvider(provider, this.observer, () => this.limits.circuit, this.clock);
    this.byName.set(provider.name, guarded);
  }
}

/** Finds the provider for a call, with our account or the customer's. It does not know wallets. */
@Injectable()
export class Upstreams {
  constructor(
    @Inject(IMAGE_PROVIDERS) private readonly providers: ImageProviders,
    private readonly vault: ProviderKeyVaultService,
  ) {}

  /** Cached because a model may name a provider at which we have no account; every call of that model skips it. */
  private readonly missing = new Map<ProviderName, ProviderFailure>();

  /** Providers with our own account. */
  readonly ours: ProviderSource = (name) => this.providers.get(name) ?? refuse(this.missingAt(name));

  /** Returns providers with the customer's account. Rejects with `ProviderKeyUnreadableError` (503). */
  async withKey(key: SealedProviderKey): Promise<(name: ProviderName) => KeyedImageProvider> {
    const secret = await this.vault.open(key);
    return (name) => this.providers.over(name, { id: key.id, secret }) ?? refuse(notConfigured(name));
  }

  /**
   * Returns providers for a call that was started earlier, with the same key, even if that key was removed since. A key that cannot
   * be read now may be readable again before recovery gives up, so the call counts as lost. Throws what the database throws.
   */
  async forStartedCall({ accountId, providerKeyId }: Generation): Promise<ProviderSource> {
    if (providerKeyId === null) return this.ours;
    const key = await this.vault.findForRunningCall(accountId, providerKeyId);
    if (key === null) return () => refuse(new ProviderFailure('failed', 'the provider key is erased'));
    try {
      return await this.withKey(key);
    } catch (error) {
      if (!(error instanceof ProviderKeyUnreadableError)) throw error;
      return () => refuse(new ProviderFailure('lost', 'the provider key cannot be read', { cause: error }));
    }
  }

  private missingAt(name: ProviderName): ProviderFailure {
    const failure = this.missing.get(name) ?? notConfigured(name);
    this.missing.set(name, failure);
    return failure;
  }
}

function notConfigured(name: string): ProviderFailure {
  return new ProviderFailure('account', `${name} is not configured`);
}

function refuse(failure: ProviderFailure): never {
  throw failure;
}

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
