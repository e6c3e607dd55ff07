import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { BFL_ACTIVE_TASKS_DEFAULT, SETTINGS, type Settings } from '../../config/settings.js';
import { BlackForestLabsProvider, taskSlotLimits } from './black-forest-labs.provider.js';
import { CustomerSlots } from './customer-slots.js';
import type { CustomerKey, ImageProvider, ImageProviders, ProviderName } from './image-provider.js';
import { UpstreamHttp } from './upstream-http.js';

/** The providers that the settings name: over our own upstream account, or over a customer's. */
@Injectable()
export class ConfiguredProviders implements ImageProviders, OnApplicationShutdown {
  private readonly byName = new Map<ProviderName, ImageProvider>();
  /** Connections of their own: calls over customers' keys must not take those of paid ones, or the reverse. */
  private readonly customersHttp = new UpstreamHttp();
  /** What the provider allows an account that has not asked for more; a larger plan of theirs is not known here. */
  private readonly customerSlots = new CustomerSlots(taskSlotLimits(BFL_ACTIVE_TASKS_DEFAULT));

  constructor(@Inject(SETTINGS) private readonly settings: Settings) {
    const { blackForestLabs } = settings;
    if (blackForestLabs !== null) this.add(new BlackForestLabsProvider(blackForestLabs));
  }

  get(name: ProviderName): ImageProvider | undefined {
    return this.byName.get(name);
  }

  over(_name: ProviderName, { id, secret }: CustomerKey): ImageProvider | undefined {
    const { blackForestLabs } = this.settings;
    if (blackForestLabs === null) return undefined;
    return new BlackForestLabsProvider(
      { ...blackForestLabs, apiKey: secret },
      {
        owner: 'customer',
        http: this.customersHttp,
        slots: { run: (work) => this.customerSlots.run(id, work) },
      },
    );
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([...this.byName.values(), this.customersHttp].map((part) => part.close()));
  }

  private add(provider: ImageProvider): void {
    this.byName.set(provider.name, provider);
  }
}
