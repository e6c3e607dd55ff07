import { Inject, Injectable, Optional, type OnApplicationShutdown } from '@nestjs/common';
import { CLOCK, type MonotonicClock } from '../../../platform/common/clock.js';
import { BFL_ACTIVE_TASKS_DEFAULT, SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../calls/generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from '../calls/generation-observer.js';
import { BlackForestLabsProvider, taskSlotLimits } from './black-forest-labs.provider.js';
import { CloudflareWorkersAiDialect } from './cloudflare-workers-ai.dialect.js';
import { CustomerSlots } from './customer-slots.js';
import { GuardedProvider } from './guarded-provider.js';
import type {
  CustomerKey,
  ImageProvider,
  ImageProviders,
  KeyedImageProvider,
  ProviderName,
} from './image-provider.js';
import { OpenAiCompatibleDialect } from './openai-compatible.dialect.js';
import { SynchronousProvider } from './synchronous.provider.js';
import { UpstreamHttp } from './upstream-http.js';

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
