import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { onAnswerEnd } from '../../platform/http/answer-end.js';
import { type Usage, usageHeaders } from './usage.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the answer says of limits; set by the guard of a limited route. */
    limitReport?: LimitReport;
  }
}

/** Gathers what was counted for one request, keeps the headers of its answer true, and knows when that has ended. */
export class LimitReport {
  private readonly usages = new Map<string, Usage>();

  constructor(private readonly reply: Pick<FastifyReply, 'headers' | 'raw'>) {}

  /** The latest word on a limit counts. Set at once, so that refusals and later errors carry the headers as well. */
  show(usages: readonly Usage[]): void {
    for (const usage of usages) this.usages.set(usage.limit, usage);
    this.reply.headers(usageHeaders([...this.usages.values()]));
  }

  /** Calls `listener` once: when the answer was sent whole, or its connection has ended. */
  onAnswerEnd(listener: () => void): void {
    onAnswerEnd(this.reply.raw, listener);
  }
}

/** `@Limits() limits: LimitReport` on a controller method whose service counts more than the guard did. */
export const Limits = createParamDecorator((_data: unknown, context: ExecutionContext) =>
  reportOf(context.getArgByIndex<FastifyRequest>(0), context.getArgByIndex<FastifyReply>(1)),
);

export function reportOf(request: FastifyRequest, reply: FastifyReply): LimitReport {
  return (request.limitReport ??= new LimitReport(reply));
}
