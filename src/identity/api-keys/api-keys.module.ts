import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../accounts/accounts.module.js';
import { AuthModule } from '../auth/auth.module.js';
import { CREDENTIALS, ApiKeyCredentials } from '../auth/credentials.js';
import { AccountApiKeysController } from './account-api-keys.controller.js';
import { ApiKeyEntity } from './api-key.entity.js';
import { ApiKeysController } from './api-keys.controller.js';
import { ApiKeysService } from './api-keys.service.js';
import { KeyLineageRepository } from './key-lineage.repository.js';
import { KeyUseRecord } from './key-use-record.service.js';
import { OperatorKeysController } from './operator-keys.controller.js';

/** It is global, because `auth/`, which is below it, reads credentials from it. */
@Global()
@Module({
  imports: [TypeOrmModule.forFeature([ApiKeyEntity]), AccountsModule, AuthModule],
  controllers: [ApiKeysController, AccountApiKeysController, OperatorKeysController],
  providers: [
    ApiKeysService,
    KeyLineageRepository,
    KeyUseRecord,
    { provide: CREDENTIALS, useClass: ApiKeyCredentials },
  ],
  exports: [ApiKeysService, CREDENTIALS],
})
export class ApiKeysModule {}
