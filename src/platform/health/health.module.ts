import { Module } from '@nestjs/common';
import { WalletsModule } from '../../money/wallets/wallets.module.js';
import { HealthController } from './health.controller.js';
import { HealthService } from './health.service.js';

@Module({ imports: [WalletsModule], controllers: [HealthController], providers: [HealthService] })
export class HealthModule {}
