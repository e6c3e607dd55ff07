import { applyDecorators } from '@nestjs/common';
import { ApiSecurity } from '@nestjs/swagger';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { getScopeKind, type Scope } from './principal.js';
import { declareAccess, getDeclaredAccess, ownMethods } from '../../platform/http/routes.js';

type Decorator = MethodDecorator & ClassDecorator;

/**
 * Only a key with this scope may call the route, or every route of the controller that declares no scope
 * itself. Also documents the key and its refusals.
 */
export function RequireScope(scope: Scope): Decorator {
  const declare = declareAccess({ public: false, scope });
  const document = applyDecorators(
    ApiSecurity(getScopeKind(scope), [scope]),
    ApiProblems(
      'missing_api_key',
      'invalid_api_key',
      'revoked_api_key',
      'expired_api_key',
      'insufficient_scope',
      'rate_limit_exceeded',
      'concurrency_limit_exceeded',
    ),
  );
  const decorate = (target: object, key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    if (key !== undefined && descriptor !== undefined) {
      declare(target, key, descriptor);
      document(target, key, descriptor);
      return;
    }
    const controller = target as { prototype: object };
    // It is documented for each method, because a class's security and a method's own are read as alternatives.
    for (const [name, method] of ownMethods(controller.prototype)) {
      if (getDeclaredAccess(method.value as object) === undefined)
        document(controller.prototype, name, method);
    }
    declare(target as never);
  };
  return decorate;
}
