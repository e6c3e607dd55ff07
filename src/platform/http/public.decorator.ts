import { applyDecorators } from '@nestjs/common';
import { ApiProblems } from '../errors/api-problems.js';
import { declareAccess } from './route-access.js';

/**
 * Anybody may call this route (or every route of this controller), with any key or none. Its requests are limited by
 * network address.
 *
 * @param uncounted why they are not.
 */
export function Public({ uncounted }: { readonly uncounted?: string } = {}): MethodDecorator &
  ClassDecorator {
  if (uncounted !== undefined) return declareAccess({ public: true, uncounted });
  return applyDecorators(declareAccess({ public: true }), ApiProblems('rate_limit_exceeded'));
}
