import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountsModule } from '../../accounts/accounts.module.js';
import { ACCOUNT_LIMITS } from '../rate-limit-policies.js';
import { AccountLimitsController } from './account-limits.controller.js';
import { AccountLimitsEntity } from './account-limits.entity.js';
import { AccountLimitsService } from './account-limits.service.js';

/** It is global, because the limiter reads the limits of single accounts from it. */
@Global()
@Module({
  imports: [TypeOrmModule.forFeature([AccountLimitsEntity]), AccountsModule],
  controllers: [AccountLimitsController],
  providers: [AccountLimitsService, { provide: ACCOUNT_LIMITS, useExisting: AccountLimitsService }],
  exports: [ACCOUNT_LIMITS],
})
export class AccountLimitsModule {}
