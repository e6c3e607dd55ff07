import { Problem } from '../../platform/errors/problem.js';

export class ModelNotFoundError extends Problem {
  readonly code = 'model_not_found';
  constructor(model: string) {
    super(`There is no model '${model}'. Nothing was charged. GET /v1/models lists what there is.`, {
      param: 'model',
      details: { charged_micros: '0' },
    });
  }
}
