import { SetMetadata } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { Scope } from './principal.js';

/** Who may call a route: anybody, or a key with this scope. */
export type RouteAccess =
  | {
      readonly public: true;
      /** Why its requests are not limited by network address; absent: they are. */
      readonly uncounted?: string;
    }
  | { readonly public: false; readonly scope: Scope };

export const ROUTE_ACCESS = 'coffer:route-access';

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- what Nest's ExecutionContext hands out
type Callable = Function;

/** Put on a method, or on a class for each of its methods that says nothing itself. */
export function declareAccess(access: RouteAccess): MethodDecorator & ClassDecorator {
  const declare = SetMetadata(ROUTE_ACCESS, access);
  // Fastify gets to know it as well: it decides before it reads a body (`early-authentication.ts`).
  const configure = RouteConfig({ access } satisfies AccessConfig);
  const decorate = (target: object, key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    if (key !== undefined && descriptor !== undefined) {
      declare(target, key, descriptor);
      configure(target, key, descriptor);
      return;
    }
    const { prototype } = target as { prototype: object };
    for (const [name, method] of ownMethods(prototype)) {
      if (declaredAccess(method.value as object) === undefined) configure(prototype, name, method);
    }
    declare(target as never);
  };
  return decorate;
}

/** The part of a Fastify route's `config` that says who may call it. */
export type AccessConfig = { readonly access: RouteAccess };

/** What the controller of a Fastify route declares; undefined for a route without a controller, such as a page. */
export function accessOfRoute(config: unknown): RouteAccess | undefined {
  return (config as Partial<AccessConfig> | undefined)?.access;
}

export function ownMethods(prototype: object): [string, PropertyDescriptor][] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(
    ([name, { value }]) => name !== 'constructor' && typeof value === 'function',
  );
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
