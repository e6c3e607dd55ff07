import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Usage, usageHeaders } from './usage.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the answer says of limits; set by the guard of a limited route. */
    limitReport?: LimitReport;
  }
}

/** Gathers what was counted for one request, and keeps the headers of its answer true. */
export class LimitReport {
  private readonly usages = new Map<string, Usage>();

  constructor(private readonly setHeaders: (headers: Record<string, string>) => unknown) {}

  /** The latest word on a limit counts. Set at once, so that refusals and later errors carry the headers as well. */
  show(usages: readonly Usage[]): void {
    for (const usage of usages) this.usages.set(usage.limit, usage);
    this.setHeaders(usageHeaders([...this.usages.values()]));
  }
}

/** `@Limits() limits: LimitReport` on a controller method whose service counts more than the guard did. */
export const Limits = createParamDecorator((_data: unknown, context: ExecutionContext) =>
  reportOf(context.getArgByIndex<FastifyRequest>(0), context.getArgByIndex<FastifyReply>(1)),
);

export function reportOf(request: FastifyRequest, reply: FastifyReply): LimitReport {
  return (request.limitReport ??= new LimitReport((headers) => reply.headers(headers)));
}
