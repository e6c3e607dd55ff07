import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../../identity/accounts/accounts.module.js';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { AccountProviderKeysController } from './account-provider-keys.controller.js';
import { EnvelopeService } from './encryption/envelope.service.js';
import { KEY_ENCRYPTION } from './encryption/key-encryption.js';
import { LocalKeyEncryption } from './encryption/local-key-encryption.js';
import { ProviderKeyVaultService } from './provider-key-vault.service.js';
import { ProviderKeyEntity } from './provider-key.entity.js';
import { ProviderKeysController } from './provider-keys.controller.js';
import { ProviderKeysService } from './provider-keys.service.js';
import { ProviderKeyErasureService } from './upkeep/provider-key-erasure.service.js';
import { ProviderKeyRewrapService } from './upkeep/provider-key-rewrap.service.js';
import { ProviderKeyUpkeepJob } from './upkeep/provider-key-upkeep.job.js';

@Module({
  imports: [TypeOrmModule.forFeature([ProviderKeyEntity]), AccountsModule, JobsModule],
  controllers: [ProviderKeysController, AccountProviderKeysController],
  providers: [
    { provide: KEY_ENCRYPTION, useClass: LocalKeyEncryption },
    EnvelopeService,
    ProviderKeyErasureService,
    ProviderKeyRewrapService,
    ProviderKeysService,
    ProviderKeyUpkeepJob,
    ProviderKeyVaultService,
  ],
  exports: [ProviderKeyVaultService],
})
export class KeyVaultModule {}
