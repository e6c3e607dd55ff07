import {
  applyDecorators,
  type CallHandler,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  SetMetadata,
  StreamableFile,
  UseInterceptors,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { mergeMap, type Observable } from 'rxjs';
import { withOrigin } from '../auth/principal.js';
import type { AuditAct } from './audit-event.js';
import { AuditLog } from './audit-log.service.js';

const RECORDED_READ = 'coffer:recorded-read';

type RecordedRead = {
  readonly act: AuditAct;
  readonly what: string;
  readonly parameters: readonly string[];
};

/** Records a read after the handler has answered, and before the answer is sent: a read that could not be recorded is not shown. */
@Injectable()
export class ReadRecorder implements NestInterceptor {
  constructor(
    private readonly log: AuditLog,
    private readonly reflector: Reflector,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { act, what, parameters } = this.reflector.get<RecordedRead>(RECORDED_READ, context.getHandler());
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const { id: account = null } = request.params as { readonly id?: string };
    const { principal } = request;
    const query = request.query as Readonly<Record<string, string>>;
    // The handler has answered, so its class has validated these parameters.
    const asked = Object.fromEntries(parameters.map((name) => [name, query[name] ?? null]));
    return next.handle().pipe(
      mergeMap(async (answer: unknown) => {
        if (principal === undefined) throw new Error(`${what} records reads, but anybody may read it`);
        const after = { read: what, ...asked };
        const entry = { act, object: account ?? 'all', account, after };
        try {
          await this.log.note(withOrigin(principal, request), entry);
        } catch (error) {
          // No reader will consume the stream, so it is closed.
          if (answer instanceof StreamableFile) answer.getStream().destroy();
          throw error;
        }
        return answer;
      }),
    );
  }
}

/**
 * Records an operator's read of a customer's data, or of the whole ledger. It goes on methods that have an account as `:id`, or
 * that read all accounts.
 *
 * @param what names the data that is read.
 * @param parameters of the query that are recorded as well.
 */
export function RecordsRead(
  act: AuditAct,
  what: string,
  parameters: readonly string[] = [],
): MethodDecorator {
  const read: RecordedRead = { act, what, parameters };
  return applyDecorators(SetMetadata(RECORDED_READ, read), UseInterceptors(ReadRecorder));
}
