import { SetMetadata } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';

/** Who may call a route: anybody, or a key with this scope (`identity/auth/principal.ts` lists them). */
export type RouteAccess<Scope extends string = string> =
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
export function accessOfRoute<Scope extends string>(config: unknown): RouteAccess<Scope> | undefined {
  return (config as { readonly access?: RouteAccess<Scope> } | undefined)?.access;
}

export function ownMethods(prototype: object): [string, PropertyDescriptor][] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(
    ([name, { value }]) => name !== 'constructor' && typeof value === 'function',
  );
}

/** What a method or a class says about itself; undefined when it says nothing. */
export function declaredAccess<Scope extends string>(target: object): RouteAccess<Scope> | undefined {
  return Reflect.getMetadata(ROUTE_ACCESS, target) as RouteAccess<Scope> | undefined;
}

/** Answers `declaredAccess` for a route, its method before its class, and remembers: metadata is slow to read. */
export class RouteAccessTable<Scope extends string> {
  private readonly known = new WeakMap<Callable, WeakMap<Callable, RouteAccess<Scope>>>();

  of(controller: Callable, handler: Callable): RouteAccess<Scope> {
    return this.known.get(handler)?.get(controller) ?? this.read(controller, handler);
  }

  /** Throws for a route that declares nothing: forgetting the decorator must never open it. */
  private read(controller: Callable, handler: Callable): RouteAccess<Scope> {
    const access = declaredAccess<Scope>(handler) ?? declaredAccess<Scope>(controller);
    if (access === undefined) {
      throw new Error(`${controller.name}.${handler.name} declares neither @Public() nor @RequireScope()`);
    }
    const byController = this.known.get(handler) ?? new WeakMap<Callable, RouteAccess<Scope>>();
    this.known.set(handler, byController.set(controller, access));
    return access;
  }
}
