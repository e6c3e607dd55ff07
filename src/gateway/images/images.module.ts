import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SETTINGS } from '../../platform/config/settings.js';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { CatalogModule } from '../catalog/catalog.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { KeyVaultModule } from '../provider-keys/key-vault.module.js';
import { PricingModule } from '../../money/pricing/pricing.module.js';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { dnsResolver, HOST_RESOLVER } from '../../platform/egress/outside-hosts.js';
import { GENERATION_OBSERVER } from './calls/generation-observer.js';
import { GenerationMetrics } from './images.metrics.js';
import { EditCreditService } from './edits/edit-credit.service.js';
import { ImageEditsService } from './edits/image-edits.service.js';
import { ReferenceFetcherService } from './edits/reference-fetcher.service.js';
import { AnswerBodies } from './calls/generation-answer.js';
import { AnswerMemory } from './calls/answer-memory.js';
import { GENERATION_LIMITS, generationLimits } from './calls/generation-limits.js';
import { GenerationsController } from './calls/generations.controller.js';
import { ImageCallsService } from './calls/image-calls.service.js';
import { IdempotencyService } from './calls/idempotency.service.js';
import { ImageMakerService } from './calls/image-maker.service.js';
import { ImagesController } from './calls/images.controller.js';
import { MediaDeletionController } from './media/media-deletion.controller.js';
import { AccountMediaDeletionJob, MediaDeletionJob } from './media/media-deletion.job.js';
import { MediaDeletionService } from './media/media-deletion.service.js';
import { ImageCallLimitsService } from './calls/image-call-limits.service.js';
import { MediaDownloadsService } from './media/media-downloads.service.js';
import { MediaRetentionJob } from './media/media-retention.job.js';
import { MediaSigner, MEDIA_STORE } from './media/media-store.js';
import { MediaController } from './media/media.controller.js';
import { openMediaStore } from './media/open-media-store.js';
import { ModelsController } from './api/models.controller.js';
import { ConfiguredProviders, Upstreams } from './providers/configured-providers.js';
import { ProviderKeyTestsController } from './calls/provider-key-tests.controller.js';
import { IMAGE_PROVIDERS } from './providers/image-provider.js';
import { GenerationReceiptsService } from './calls/records/generation-receipts.service.js';
import { GenerationReaderService } from './calls/records/generation-reader.service.js';
import { GenerationRecordsService } from './calls/records/generation-records.service.js';
import { RecordQueueService } from './calls/records/record-queue.service.js';
import { GenerationTaskEntity } from './calls/records/generation-task.entity.js';
import { GenerationEntity } from './calls/records/generation.entity.js';
import { GenerationRecoveryJob } from './calls/recovery/generation-recovery.job.js';
import { GenerationRecoveryService } from './calls/recovery/generation-recovery.service.js';
import { MediaRestorationJob } from './calls/recovery/media-restoration.job.js';
import { OrphanedHoldsService } from './calls/recovery/orphaned-holds.service.js';
import { CallOutcomesService, RunningGenerationsService } from './calls/running-generations.service.js';
import { FreeFundingService } from './calls/funding/free-funding.service.js';
import { FundingService, WalletFundingService } from './calls/funding/funding.service.js';
import { ProviderKeyFundingService } from './calls/funding/provider-key-funding.service.js';
import { RetriedCallsService } from './calls/retries/retried-calls.service.js';
import { DuplicateCallsService } from './calls/retries/duplicate-calls.service.js';
import { RefusedAttemptsService } from './calls/retries/refused-attempts.service.js';
import { RetryClaimsService } from './calls/retries/retry-claims.service.js';
import { RetryRetentionJob } from './calls/retries/retry-retention.job.js';

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
    GenerationMetrics,
    { provide: GENERATION_OBSERVER, useExisting: GenerationMetrics },
    AnswerBodies,
    CallOutcomesService,
    EditCreditService,
    AnswerMemory,
    FreeFundingService,
    FundingService,
    ProviderKeyFundingService,
    WalletFundingService,
    GenerationReaderService,
    GenerationReceiptsService,
    GenerationRecordsService,
    GenerationRecoveryService,
    GenerationRecoveryJob,
    IdempotencyService,
    ImageCallLimitsService,
    ImageCallsService,
    ImageEditsService,
    ImageMakerService,
    AccountMediaDeletionJob,
    MediaDeletionService,
    MediaDeletionJob,
    MediaDownloadsService,
    MediaRestorationJob,
    MediaRetentionJob,
    MediaSigner,
    OrphanedHoldsService,
    RecordQueueService,
    RetriedCallsService,
    DuplicateCallsService,
    RefusedAttemptsService,
    RetryClaimsService,
    RetryRetentionJob,
    ReferenceFetcherService,
    RunningGenerationsService,
    Upstreams,
  ],
  exports: [RunningGenerationsService],
})
export class GenerationModule {}
