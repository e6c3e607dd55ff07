import { SetMetadata } from '@nestjs/common';
import type { Scope } from './principal.js';

/** Who may call a route: anybody, or a key with this scope. */
export type RouteAccess = { readonly public: true } | { readonly public: false; readonly scope: Scope };

export const ROUTE_ACCESS = 'coffer:route-access';

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- what Nest's ExecutionContext hands out
type Callable = Function;

export function declareAccess(access: RouteAccess): MethodDecorator & ClassDecorator {
  return SetMetadata(ROUTE_ACCESS, access);
}

/** What a method or a class says about itself; undefined when it says nothing. */
export function declaredAccess(target: object): RouteAccess | undefined {
  return Reflect.getMetadata(ROUTE_ACCESS, target) as RouteAccess | undefined;
}

/** Answers `declaredAccess` for a route, its method before its class, and remembers: metadata is slow to read. */
export class RouteAccessTable {
  private readonly known = new WeakMap<Callable, WeakMap<Callable, RouteAccess>>();

  of(controller: Callable, handler: Callable): RouteAccess {
    return this.known.get(handler)?.get(controller) ?? this.read(controller, handler);
  }

  /** Throws for a route that declares nothing: forgetting the decorator must never open it. */
  private read(controller: Callable, handler: Callable): RouteAccess {
    const access = declaredAccess(handler) ?? declaredAccess(controller);
    if (access === undefined) {
      throw new Error(`${controller.name}.${handler.name} declares neither @Public() nor @RequireScope()`);
    }
    const byController = this.known.get(handler) ?? new WeakMap<Callable, RouteAccess>();
    this.known.set(handler, byController.set(controller, access));
    return access;
  }
}
