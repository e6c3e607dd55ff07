import { Controller, Get, HttpStatus, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiServiceUnavailableResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Public } from '../http/routes.js';
import { LivenessView, ReadinessView } from './health.dto.js';
import { HealthService } from './health.service.js';

@ApiTags('Service')
@Controller('health')
@Public({ uncounted: 'Who is refused here restarts a process that is well.' })
export class HealthController {
  constructor(private readonly health: HealthService) {}

  @Get('live')
  @ApiOperation({
    operationId: 'retrieveLiveness',
    summary: 'Is the process alive?',
    description: 'Restart it when this does not answer.',
  })
  @ApiOkResponse({ type: LivenessView })
  live(): LivenessView {
    return new LivenessView();
  }

  @Get('ready')
  @ApiOperation({
    operationId: 'retrieveReadiness',
    summary: 'Should requests be sent here?',
    description:
      'Fails while the database does not answer, while money commands wait, while the clock differs from that of the ' +
      'database, and as soon as the process is asked to stop.',
  })
  @ApiOkResponse({ type: ReadinessView })
  @ApiServiceUnavailableResponse({ type: ReadinessView, description: 'Not now; `parts` says why.' })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<ReadinessView> {
    const { ready, parts } = await this.health.readiness();
    reply.code(ready ? HttpStatus.OK : HttpStatus.SERVICE_UNAVAILABLE);
    return { object: 'health', status: ready ? 'ok' : 'unavailable', parts };
  }
}
