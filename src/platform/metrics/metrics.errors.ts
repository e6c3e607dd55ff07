import { Problem } from '../errors/problem.js';

export class InvalidMetricsTokenError extends Problem {
  readonly code = 'invalid_metrics_token';
  constructor() {
    super(
      "The metrics need the header 'Authorization: Bearer <METRICS_TOKEN>' with the token of this service.",
    );
  }
}
