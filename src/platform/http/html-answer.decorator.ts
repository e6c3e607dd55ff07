import { applyDecorators, Header } from '@nestjs/common';
import { ApiOkResponse, ApiProduces } from '@nestjs/swagger';
import { STATIC_PAGE_HEADERS } from './answer-headers.js';

/** A route that answers with a page of its own, which loads nothing but our style sheet. */
export function HtmlAnswer(): MethodDecorator {
  return applyDecorators(
    ...Object.entries(STATIC_PAGE_HEADERS).map(([name, value]) => Header(name, value)),
    Header('content-type', 'text/html; charset=utf-8'),
    ApiProduces('text/html'),
    ApiOkResponse({ schema: { type: 'string' } }),
  );
}
