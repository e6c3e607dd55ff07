import { createParamDecorator, type ExecutionContext } from '@nestjs/common';

/** The part of Node's response that tells. */
export type Answering = {
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  once(event: 'close', listener: () => void): unknown;
};

/** Aborts when the connection ends without the whole answer: then work that no charge depends on may stop. */
export function clientGoneSignal(answer: Answering): AbortSignal {
  const gone = new AbortController();
  const end = (): void => {
    if (!answer.writableFinished) gone.abort();
  };
  if (answer.destroyed) end();
  else answer.once('close', end);
  return gone.signal;
}

/** `@ClientGone() gone: AbortSignal` on a controller method. */
export const ClientGone = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const { raw } = context.switchToHttp().getResponse<{ raw: Answering }>();
  return clientGoneSignal(raw);
});
