import { Problem } from '../../platform/errors/problem.js';
import type { DisabledReason } from './webhook-endpoint.js';

export class WebhookEndpointDisabledError extends Problem {
  readonly code = 'webhook_endpoint_disabled';
  constructor(id: string, reason: DisabledReason) {
    super(`${id} is disabled (${reason}), so nothing is sent. Enable it first: {"enabled": true}.`);
  }
}
