import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../config/settings.js';
import { BlackForestLabsProvider } from './black-forest-labs.provider.js';
import type { ImageProvider, ImageProviders, ProviderName } from './image-provider.js';

/** The providers that the settings name, each with our own upstream account. */
@Injectable()
export class ConfiguredProviders implements ImageProviders, OnApplicationShutdown {
  private readonly byName = new Map<ProviderName, ImageProvider>();

  constructor(@Inject(SETTINGS) settings: Settings) {
    const { blackForestLabs } = settings;
    if (blackForestLabs !== null) this.add(new BlackForestLabsProvider(blackForestLabs));
  }

  get(name: ProviderName): ImageProvider | undefined {
    return this.byName.get(name);
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([...this.byName.values()].map((provider) => provider.close()));
  }

  private add(provider: ImageProvider): void {
    this.byName.set(provider.name, provider);
  }
}
