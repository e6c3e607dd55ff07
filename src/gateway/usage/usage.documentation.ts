import { applyDecorators } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiOperation, getSchemaPath } from '@nestjs/swagger';
import { UsageListView } from './usage.dto.js';

/** Documents the answer, which is the same for customers and operators, as JSON or CSV. */
export function DocumentUsage(operationId: string, summary: string): MethodDecorator {
  return applyDecorators(
    ApiOperation({
      operationId,
      summary,
      description:
        'Exact as of now: the charged amounts of a day add up to the captures and debits of that day in the ledger. ' +
        'Days are UTC.',
    }),
    ApiExtraModels(UsageListView),
    ApiOkResponse({
      description: 'A page of rows with the totals of the whole range. A CSV has every row and nothing else.',
      content: {
        'application/json': { schema: { $ref: getSchemaPath(UsageListView) } },
        'text/csv': { schema: { type: 'string' } },
      },
    }),
  );
}
