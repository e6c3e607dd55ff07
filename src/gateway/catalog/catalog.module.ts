import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PricingModule } from '../../money/pricing/pricing.module.js';
import { CatalogReaderService } from './catalog-reader.service.js';
import { CatalogController } from './catalog.controller.js';
import { ModelCatalogService } from './model-catalog.service.js';
import { ModelRankingService } from './ranking/model-ranking.service.js';
import { ModelUsageEntity } from './ranking/model-usage.entity.js';
import { ModelUsageService } from './ranking/model-usage.service.js';
import { CatalogVersionEntity } from './versions/catalog-version.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([CatalogVersionEntity, ModelUsageEntity]), PricingModule],
  controllers: [CatalogController],
  providers: [CatalogReaderService, ModelCatalogService, ModelRankingService, ModelUsageService],
  exports: [CatalogReaderService, ModelCatalogService, ModelUsageService],
})
export class CatalogModule {}
