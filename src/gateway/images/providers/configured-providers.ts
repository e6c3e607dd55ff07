import { Inject, Injectable, Optional, type OnApplicationShutdown } from '@nestjs/common';
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
import { ProviderKeyVault } from '../../provider-keys/provider-key-vault.service.js';
import type { ProviderSource } from '../calls/image-maker.service.js';
import type { Generation } from '../calls/records/generation.js';
import { BlackForestLabsProvider, taskSlotLimits } from './black-forest-labs.provider.js';
import { CloudflareWorkersAiDialect } from './cloudflare-workers-ai.dialect.js';
import { CustomerSlots } from './task-slots.js';
import { GuardedProvider } from './guarded-provider.js';
import {
  type CustomerKey,
  type ImageProvider,
  type ImageProviders,
  type KeyedImageProvider,
  type ProviderName,
  IMAGE_PROVIDERS,
} from './image-provider.js';
import { OpenAiCompatibleDialect } from './openai-compatible.dialect.js';
import { SynchronousProvider } from './synchronous.provider.js';
import { UpstreamHttp } from './upstream-http.js';
import { ProviderFailure } from './provider-failure.js';

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
    private readonly vault: ProviderKeyVault,
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
