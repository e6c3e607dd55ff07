import { Global, Module } from '@nestjs/common';
import { ENGINE_OBSERVER } from '../wallets/engine-observer.js';
import { EngineMetrics } from './engine-metrics.js';
import { MetricsController } from './metrics.controller.js';
import { MetricsRegistry } from './metrics-registry.js';
import { RequestMetrics } from './request-metrics.js';

/** Global, because the wallet engine is told its observer without knowing that there are metrics. */
@Global()
@Module({
  controllers: [MetricsController],
  providers: [
    MetricsRegistry,
    RequestMetrics,
    EngineMetrics,
    { provide: ENGINE_OBSERVER, useExisting: EngineMetrics },
  ],
  exports: [RequestMetrics, ENGINE_OBSERVER],
})
export class MetricsModule {}
