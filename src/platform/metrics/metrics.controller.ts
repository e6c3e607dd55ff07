import { Controller, Get, Header, Inject, Req } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { Public } from '../http/routes.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { ApiProblems } from '../errors/api-problems.js';
import { InvalidMetricsTokenError, mayReadMetrics } from './metrics-access.js';
import { MetricsRegistry } from './metrics-registry.js';

@ApiTags('Service')
@Controller('metrics')
@Public()
export class MetricsController {
  constructor(
    private readonly registry: MetricsRegistry,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'metrics'>,
  ) {}

  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiOperation({
    operationId: 'retrieveMetrics',
    summary: 'Metrics for Prometheus',
    description:
      'Requests, the wallet engine (queue, batches, commit time, commands, refusals) and the process. Where `METRICS_TOKEN` is set it is wanted as a bearer token; in production the route exists only then, or on a port of its own (`METRICS_PORT`).',
  })
  @ApiProduces('text/plain')
  @ApiOkResponse({
    schema: { type: 'string', example: 'coffer_engine_queue_length 0\n' },
    description: 'The Prometheus text format.',
  })
  @ApiProblems('invalid_metrics_token')
  metrics(@Req() { headers }: FastifyRequest): Promise<string> {
    if (!mayReadMetrics(this.settings.metrics.token, headers.authorization))
      throw new InvalidMetricsTokenError();
    return this.registry.metrics();
  }
}
