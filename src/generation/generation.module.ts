import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { PricingModule } from '../pricing/pricing.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { GENERATION_LIMITS, generationLimits } from './generation-limits.js';
import { ImageGeneration } from './generation.service.js';
import { GenerationsController } from './generations.controller.js';
import { Idempotency } from './idempotency.service.js';
import { ImageMaker } from './image-maker.service.js';
import { ImagesController } from './images.controller.js';
import { MediaDownloads } from './media/media-downloads.service.js';
import { MediaRetentionJob } from './media/media-retention.job.js';
import { MediaSigner } from './media/media-signer.js';
import { LocalMediaStore, MEDIA_STORE } from './media/media-store.js';
import { MediaController } from './media/media.controller.js';
import { ModelsController } from './models.controller.js';
import { Payments } from './payment/payments.service.js';
import { ConfiguredProviders } from './providers/configured-providers.js';
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

@Module({
  imports: [
    TypeOrmModule.forFeature([GenerationEntity, GenerationTaskEntity]),
    JobsModule,
    PricingModule,
    WalletsModule,
  ],
  controllers: [ImagesController, ModelsController, GenerationsController, MediaController],
  providers: [
    { provide: GENERATION_LIMITS, useFactory: () => ({ ...generationLimits }) },
    { provide: IMAGE_PROVIDERS, useClass: ConfiguredProviders },
    { provide: MEDIA_STORE, useClass: LocalMediaStore },
    GenerationReader,
    GenerationRecords,
    GenerationRecovery,
    GenerationRecoveryJob,
    Idempotency,
    ImageGeneration,
    ImageMaker,
    MediaDownloads,
    MediaRestorationJob,
    MediaRetentionJob,
    MediaSigner,
    OrphanedHolds,
    Payments,
    RunningGenerations,
  ],
})
export class GenerationModule {}
