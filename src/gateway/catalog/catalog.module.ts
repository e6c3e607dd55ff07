import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PricingModule } from '../../money/pricing/pricing.module.js';
import { CatalogReader } from './catalog-reader.service.js';
import { CatalogController } from './catalog.controller.js';
import { ModelCatalog } from './model-catalog.service.js';
import { ModelRanking } from './ranking/model-ranking.service.js';
import { ModelUsageEntity } from './ranking/model-usage.entity.js';
import { ModelUsage } from './ranking/model-usage.service.js';
import { CatalogVersionEntity } from './versions/catalog-version.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([CatalogVersionEntity, ModelUsageEntity]), PricingModule],
  controllers: [CatalogController],
  providers: [CatalogReader, ModelCatalog, ModelRanking, ModelUsage],
  exports: [CatalogReader, ModelCatalog, ModelUsage],
})
export class CatalogModule {}
