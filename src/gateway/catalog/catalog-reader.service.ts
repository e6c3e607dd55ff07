import { Inject, Injectable, Logger } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { PriceBookService } from '../../money/pricing/price-book.service.js';
import { ModelNotFoundError } from '../../money/pricing/pricing.errors.js';
import { RATE_LIMIT_POLICIES } from '../../identity/rate-limits/rate-limit-policies.js';
import type { CatalogModel } from './catalog.js';
import type { CatalogData, PricedModel } from './catalog-data.js';
import { ModelCatalogService } from './model-catalog.service.js';
import { ModelRankingService } from './ranking/model-ranking.service.js';

/** Combines models, prices and usage for the public pages and JSON routes. */
@Injectable()
export class CatalogReaderService {
  private readonly logger = new Logger(CatalogReaderService.name);
  private last: CatalogData | null = null;

  constructor(
    private readonly catalog: ModelCatalogService,
    private readonly prices: PriceBookService,
    private readonly ranking: ModelRankingService,
    @Inject(SETTINGS) private readonly settings: Settings,
  ) {}

  /**
   * Usually answers from memory. Pages move no money, so while the database is unavailable they show the last known state; if there is
   * none, this rejects with `DatabaseUnavailableError` (503).
   */
  async read(): Promise<CatalogData> {
    try {
      this.last = await this.readNow();
      return this.last;
    } catch (error) {
      if (this.last === null) throw error;
      const event = 'catalog.pages_outdated';
      this.logger.warn(
        { event, err: error },
        'The catalogue could not be read; pages show the last known state',
      );
      return this.last;
    }
  }

  private async readNow(): Promise<CatalogData> {
    const { version, models } = await this.catalog.current();
    const [ranking, ...priced] = await Promise.all([
      this.ranking.current(),
      ...models.map((model) => this.withPrice(model)),
    ]);
    return {
      version,
      models: priced.flat(),
      ranking,
      topUp: this.settings.topUp,
      freeImagesPerDay: this.settings.freeImagesPerDay,
      freeCallsPerMinute: RATE_LIMIT_POLICIES.free_images.perAccount,
      callsPerMinute: RATE_LIMIT_POLICIES.image_calls.perKey,
    };
  }

  /** Returns nothing for a model that was published so recently that its price is not in memory yet. */
  private async withPrice(model: CatalogModel): Promise<PricedModel[]> {
    try {
      const price = await this.prices.requirePrice(model.id);
      return [{ ...model, price }];
    } catch (error) {
      if (error instanceof ModelNotFoundError) return [];
      throw error;
    }
  }
}
