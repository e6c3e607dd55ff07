import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../jobs/jobs.module.js';
import { PaymentsModule } from '../payments/payments.module.js';
import { WalletsModule } from '../wallets/wallets.module.js';
import { CheckoutReturnController } from './checkout-return.controller.js';
import { TopUpCheckout } from './top-up-checkout.service.js';
import { TopUpEntity } from './top-up.entity.js';
import { TopUpEvents } from './top-up-events.js';
import { TopUpRepository } from './top-up.repository.js';
import { TopUpSettlement } from './top-up-settlement.service.js';
import { TopUpSweepJob } from './top-up-sweep.job.js';
import { TopUpsController } from './top-ups.controller.js';
import { TopUpsService } from './top-ups.service.js';

/** Credit that customers buy: the quote, the payment page, and the settlement into the wallet. */
@Module({
  imports: [JobsModule, PaymentsModule, WalletsModule, TypeOrmModule.forFeature([TopUpEntity])],
  controllers: [TopUpsController, CheckoutReturnController],
  providers: [TopUpRepository, TopUpsService, TopUpCheckout, TopUpSettlement, TopUpEvents, TopUpSweepJob],
})
export class TopUpsModule {}
