import { Module } from '@nestjs/common';
import { PricingModule } from '../pricing/pricing.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { DebitsController } from './debits.controller.js';
import { DebitsService } from './debits.service.js';
import { HoldsController } from './holds.controller.js';
import { HoldsService } from './holds.service.js';

@Module({
  imports: [WalletsModule, PricingModule],
  controllers: [DebitsController, HoldsController],
  providers: [DebitsService, HoldsService],
})
export class DebitsModule {}
