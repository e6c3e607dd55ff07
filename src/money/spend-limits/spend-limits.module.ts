import { Global, Module } from '@nestjs/common';
import { KEY_BUDGETS } from '../../identity/api-keys/key-budget.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { KeyBudgetsService } from './key-budgets.service.js';

/** The module is global, because `identity/api-keys/`, which is below it, reads budgets. */
@Global()
@Module({
  imports: [WalletsModule],
  providers: [{ provide: KEY_BUDGETS, useClass: KeyBudgetsService }],
  exports: [KEY_BUDGETS],
})
export class SpendLimitsModule {}
