import { applyDecorators } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import { PROBLEM_CATALOG, type ProblemCode } from './problem-catalog.js';
import { PROBLEM_KINDS } from './problem-kinds.js';

/**
 * Documents the errors of a route: one response for each status, its codes listed with an example. Several decorators
 * on one route add up, and `problem-documentation.ts` adds the errors of every route.
 */
export function ApiProblems(...codes: readonly ProblemCode[]): MethodDecorator & ClassDecorator {
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of codes) {
    const { status } = PROBLEM_KINDS[PROBLEM_CATALOG[code].kind];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return applyDecorators(
    ...[...byStatus].map(([status, ofStatus]) =>
      ApiResponse({
        status,
        description: describeCodes(ofStatus),
        schema: { $ref: '#/components/schemas/Error' },
        examples: Object.fromEntries(ofStatus.map((code) => [code, toErrorExample(code)])),
      }),
    ),
  );
}

export function describeCodes(codes: readonly ProblemCode[]): string {
  return codes.map((code) => `\`${code}\`: ${PROBLEM_CATALOG[code].summary}`).join('\n\n');
}

/** The error as it is on the wire; real messages are more specific. */
export function toErrorExample(code: ProblemCode) {
  const { kind, summary } = PROBLEM_CATALOG[code];
  return {
    summary,
    value: { error: { message: summary, type: PROBLEM_KINDS[kind].type, param: null, code } },
  };
}
