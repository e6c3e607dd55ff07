import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { PricingModule } from '../pricing/pricing.module.js';
import { CatalogReader } from './catalog-reader.service.js';
import { CatalogController } from './catalog.controller.js';
import { ModelCatalog } from './model-catalog.service.js';
import { ModelRanking } from './usage/model-ranking.service.js';
import { ModelUsageEntity } from './usage/model-usage.entity.js';
import { ModelUsageJob } from './usage/model-usage.job.js';
import { CatalogVersionEntity } from './versions/catalog-version.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([CatalogVersionEntity, ModelUsageEntity]), JobsModule, PricingModule],
  controllers: [CatalogController],
  providers: [CatalogReader, ModelCatalog, ModelRanking, ModelUsageJob],
  exports: [CatalogReader, ModelCatalog],
})
export class CatalogModule {}
