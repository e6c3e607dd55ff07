import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { onAnswerEnd } from '../../platform/http/connection-answers.js';
import { type Usage, usageHeaders } from './usage.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The limits that the answer reports; the guard of a limited route sets it. */
    limitReport?: LimitReport;
  }
}

/** Collects what was counted for one request, keeps the headers of its answer up to date, and reports its end. */
export class LimitReport {
  private readonly usages = new Map<string, Usage>();

  constructor(private readonly reply: Pick<FastifyReply, 'headers' | 'raw'>) {}

  /** The latest report of a limit counts. It is set at once, so that refusals and later errors carry the headers as well. */
  show(usages: readonly Usage[]): void {
    for (const usage of usages) this.usages.set(usage.limit, usage);
    this.reply.headers(usageHeaders([...this.usages.values()]));
  }

  /** Calls `listener` once: when the whole answer was sent, or its connection has ended. */
  onAnswerEnd(listener: () => void): void {
    onAnswerEnd(this.reply.raw, listener);
  }
}

/** `@Limits() limits: LimitReport` on a controller method whose service counts more than the guard did. */
export const Limits = createParamDecorator((_data: unknown, context: ExecutionContext) =>
  getLimitReport(context.getArgByIndex<FastifyRequest>(0), context.getArgByIndex<FastifyReply>(1)),
);

export function getLimitReport(request: FastifyRequest, reply: FastifyReply): LimitReport {
  return (request.limitReport ??= new LimitReport(reply));
}
