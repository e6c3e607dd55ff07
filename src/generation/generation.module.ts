import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SETTINGS } from '../config/settings.js';
import { AccountsModule } from '../accounts/accounts.module.js';
import { CatalogModule } from '../catalog/catalog.module.js';
import { JobsModule } from '../jobs/jobs.module.js';
import { KeyVaultModule } from '../key-vault/key-vault.module.js';
import { PricingModule } from '../pricing/pricing.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { dnsResolver, HOST_RESOLVER } from '../outgoing/outside-hosts.js';
import { EditCredit } from './edits/edit-credit.service.js';
import { ImageEdits } from './edits/image-edits.service.js';
import { ReferenceFetcher } from './edits/reference-fetcher.service.js';
import { AnswerBodies } from './answer-bodies.service.js';
import { AnswerMemory } from './answer-memory.js';
import { FreeCalls } from './free-calls.service.js';
import { GENERATION_LIMITS, generationLimits } from './generation-limits.js';
import { ImageGeneration } from './generation.service.js';
import { GenerationsController } from './generations.controller.js';
import { ImageCalls } from './image-calls.service.js';
import { Idempotency } from './idempotency.service.js';
import { ImageMaker } from './image-maker.service.js';
import { ImagesController } from './images.controller.js';
import { MediaDeletionController } from './media/media-deletion.controller.js';
import { AccountMediaDeletionJob, MediaDeletionJob } from './media/media-deletion.job.js';
import { MediaDeletion } from './media/media-deletion.service.js';
import { ImageCallLimits } from './limits/image-call-limits.service.js';
import { MediaDownloads } from './media/media-downloads.service.js';
import { MediaRetentionJob } from './media/media-retention.job.js';
import { MediaSigner } from './media/media-signer.js';
import { MEDIA_STORE } from './media/media-store.js';
import { MediaController } from './media/media.controller.js';
import { openMediaStore } from './media/open-media-store.js';
import { ImageModels } from './model-catalog.js';
import { ModelsController } from './models.controller.js';
import { OrdinaryCalls } from './ordinary-calls.service.js';
import { PassThroughCalls } from './pass-through-calls.service.js';
import { Payments } from './payment/payments.service.js';
import { ConfiguredProviders } from './providers/configured-providers.js';
import { ProviderKeyTestsController } from './providers/provider-key-tests.controller.js';
import { IMAGE_PROVIDERS } from './providers/image-provider.js';
import { GenerationReceipts } from './records/generation-receipts.service.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { GenerationRecords } from './records/generation-records.service.js';
import { RecordQueue } from './records/record-queue.service.js';
import { GenerationTaskEntity } from './records/generation-task.entity.js';
import { GenerationEntity } from './records/generation.entity.js';
import { GenerationRecoveryJob } from './recovery/generation-recovery.job.js';
import { GenerationRecovery } from './recovery/generation-recovery.service.js';
import { MediaRestorationJob } from './recovery/media-restoration.job.js';
import { OrphanedHolds } from './recovery/orphaned-holds.service.js';
import { AnswerEndings } from './retries/answer-endings.service.js';
import { RetriedCalls } from './retries/retried-calls.service.js';
import { DuplicateCalls } from './retries/duplicate-calls.service.js';
import { RefusedAttempts } from './retries/refused-attempts.service.js';
import { RetryClaims } from './retries/retry-claims.service.js';
import { RetryRetentionJob } from './retries/retry-retention.job.js';
import { RunningGenerations } from './running-generations.service.js';
import { Upstreams } from './upstreams.service.js';

@Module({
  imports: [
    TypeOrmModule.forFeature([GenerationEntity, GenerationTaskEntity]),
    AccountsModule,
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
    MediaDeletionController,
    ProviderKeyTestsController,
  ],
  providers: [
    { provide: GENERATION_LIMITS, useFactory: () => ({ ...generationLimits }) },
    { provide: HOST_RESOLVER, useValue: dnsResolver },
    { provide: IMAGE_PROVIDERS, useClass: ConfiguredProviders },
    { provide: MEDIA_STORE, useFactory: openMediaStore, inject: [SETTINGS] },
    AnswerBodies,
    AnswerEndings,
    EditCredit,
    AnswerMemory,
    FreeCalls,
    GenerationReader,
    GenerationReceipts,
    GenerationRecords,
    GenerationRecovery,
    GenerationRecoveryJob,
    Idempotency,
    ImageCallLimits,
    ImageCalls,
    ImageEdits,
    ImageGeneration,
    ImageMaker,
    ImageModels,
    AccountMediaDeletionJob,
    MediaDeletion,
    MediaDeletionJob,
    MediaDownloads,
    MediaRestorationJob,
    MediaRetentionJob,
    MediaSigner,
    OrdinaryCalls,
    OrphanedHolds,
    PassThroughCalls,
    Payments,
    RecordQueue,
    RetriedCalls,
    DuplicateCalls,
    RefusedAttempts,
    RetryClaims,
    RetryRetentionJob,
    ReferenceFetcher,
    RunningGenerations,
    Upstreams,
  ],
  exports: [RunningGenerations],
})
export class GenerationModule {}
