import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { CatalogModule } from '../catalog/catalog.module.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { KeyVaultModule } from '../key-vault/key-vault.module.js';
import { PricingModule } from '../pricing/pricing.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { FreeCalls } from './free-calls.service.js';
import { GENERATION_LIMITS, generationLimits } from './generation-limits.js';
import { ImageGeneration } from './generation.service.js';
import { GenerationsController } from './generations.controller.js';
import { ImageCalls } from './image-calls.service.js';
import { Idempotency } from './idempotency.service.js';
import { ImageMaker } from './image-maker.service.js';
import { ImagesController } from './images.controller.js';
import { MediaDownloads } from './media/media-downloads.service.js';
import { MediaRetentionJob } from './media/media-retention.job.js';
import { MediaSigner } from './media/media-signer.js';
import { LocalMediaStore, MEDIA_STORE } from './media/media-store.js';
import { MediaController } from './media/media.controller.js';
import { ImageModels } from './model-catalog.js';
import { ModelsController } from './models.controller.js';
import { OrdinaryCalls } from './ordinary-calls.service.js';
import { PassThroughCalls } from './pass-through-calls.service.js';
import { Payments } from './payment/payments.service.js';
import { ConfiguredProviders } from './providers/configured-providers.js';
import { ProviderKeyTestsController } from './providers/provider-key-tests.controller.js';
import { IMAGE_PROVIDERS } from './providers/image-provider.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { GenerationRecords } from './records/generation-records.service.js';
import { GenerationTaskEntity } from './records/generation-task.entity.js';
import { GenerationEntity } from './records/generation.entity.js';
import { GenerationRecoveryJob } from './recovery/generation-recovery.job.js';
import { GenerationRecovery } from './recovery/generation-recovery.service.js';
import { MediaRestorationJob } from './recovery/media-restoration.job.js';
import { OrphanedHolds } from './recovery/orphaned-holds.service.js';
import { RunningGenerations } from './running-generations.service.js';
import { Upstreams } from './upstreams.service.js';

@Module({
  imports: [
    TypeOrmModule.forFeature([GenerationEntity, GenerationTaskEntity]),
    CatalogModule,
    JobsModule,
    KeyVaultModule,
    PricingModule,
    WalletsModule,
  ],
  controllers: [
    ImagesController,
    ModelsController,
    GenerationsController,
    MediaController,
    ProviderKeyTestsController,
  ],
  providers: [
    { provide: GENERATION_LIMITS, useFactory: () => ({ ...generationLimits }) },
    { provide: IMAGE_PROVIDERS, useClass: ConfiguredProviders },
    { provide: MEDIA_STORE, useClass: LocalMediaStore },
    FreeCalls,
    GenerationReader,
    GenerationRecords,
    GenerationRecovery,
    GenerationRecoveryJob,
    Idempotency,
    ImageCalls,
    ImageGeneration,
    ImageMaker,
    ImageModels,
    MediaDownloads,
    MediaRestorationJob,
    MediaRetentionJob,
    MediaSigner,
    OrdinaryCalls,
    OrphanedHolds,
    PassThroughCalls,
    Payments,
    RunningGenerations,
    Upstreams,
  ],
})
export class GenerationModule {}
