import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorTranslator, toProblem } from './to-problem.js';
import { MethodNotAllowedError } from './common.errors.js';
import { type Problem, toErrorBody } from './problem.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The reason why this request was refused; the request log and the metrics read it. */
    problem: Problem | null;
  }
}

/** The only class that turns an error into an answer: OpenAI's error shape, its headers, and nothing internal. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly translators: readonly ErrorTranslator[]) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const problem = toProblem(error, request, this.translators);
    request.problem = problem;
    if (reply.sent || reply.raw.headersSent) {
      // A stream broke in the middle of an answer: only a closed connection shows the client that it is incomplete.
      reply.raw.destroy();
      return;
    }
    sendProblem(reply, problem);
  }
}

export function sendProblem(reply: FastifyReply, problem: Problem): void {
  // A file or a stream may have set its own type and length before it failed.
  reply.removeHeader('content-length').removeHeader('content-disposition');
  void reply
    .code(problem.status)
    .headers(problemHeaders(problem))
    .type('application/json; charset=utf-8')
    .send(toErrorBody(problem));
}

/** Members of an error body that are also sent as headers, as on the answers of paid calls. */
const FACT_HEADERS = {
  charged_micros: 'x-charged-micros',
  available_micros: 'x-wallet-available-micros',
  generation_id: 'x-generation-id',
} as const;

function problemHeaders(problem: Problem): Record<string, string> {
  const headers: Record<string, string> = {};
  // Otherwise the rest of the request would have to be read before the next one on the same connection.
  if (problem.status === 408) headers['connection'] = 'close';
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer';
  if (problem.retryAfterSeconds !== undefined) headers['retry-after'] = String(problem.retryAfterSeconds);
  if (problem.shouldRetry !== undefined) headers['x-should-retry'] = String(problem.shouldRetry);
  if (problem instanceof MethodNotAllowedError) headers['allow'] = problem.allowedMethods.join(', ');
  for (const [member, header] of Object.entries(FACT_HEADERS)) {
    const fact = problem.details[member];
    if (typeof fact === 'string') headers[header] = fact;
  }
  return headers;
}
