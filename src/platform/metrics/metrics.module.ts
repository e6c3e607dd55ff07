import { type DynamicModule, Global, Module } from '@nestjs/common';
import type { Settings } from '../config/settings.js';
import { MetricsController } from './metrics.controller.js';
import { metricsAccess } from './metrics-access.js';
import { MetricsRegistry } from './metrics-registry.js';
import { MetricsServer } from './metrics-server.js';
import { RequestMetrics } from './answered-requests.js';

/** It is global: every module registers its own metrics (`*.metrics.ts`) with `MetricsRegistry`. */
@Global()
@Module({
  providers: [MetricsRegistry, MetricsServer, RequestMetrics],
  exports: [MetricsRegistry, RequestMetrics],
})
export class MetricsModule {
  static with(settings: Settings): DynamicModule {
    const isRoute = metricsAccess(settings) !== 'absent';
    return { module: MetricsModule, controllers: isRoute ? [MetricsController] : [] };
  }
}
