import { Controller, Get, Header } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import { Public } from '../auth/public.decorator.js';
import { MetricsRegistry } from './metrics-registry.js';

@ApiTags('Service')
@Controller('metrics')
@Public()
export class MetricsController {
  constructor(private readonly registry: MetricsRegistry) {}

  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiOperation({
    operationId: 'retrieveMetrics',
    summary: 'Metrics for Prometheus',
    description:
      'Requests, the wallet engine (queue, batches, commit time, commands, refusals) and the process.',
  })
  @ApiProduces('text/plain')
  @ApiOkResponse({
    schema: { type: 'string', example: 'coffer_engine_queue_length 0\n' },
    description: 'The Prometheus text format.',
  })
  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}
