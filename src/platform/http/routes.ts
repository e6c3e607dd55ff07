import { applyDecorators, SetMetadata, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiProblems } from '../errors/api-problems.js';
import { InvalidRequestError } from '../errors/common.errors.js';

/** Who may call a route: any caller, or a key with this scope (`identity/auth/principal.ts` lists the scopes). */
export type RouteAccess<Scope extends string = string> =
  | {
      readonly public: true;
      /** The reason why its requests are not limited by network address; when absent, they are. */
      readonly uncounted?: string;
    }
  | { readonly public: false; readonly scope: Scope };

export const ROUTE_ACCESS = 'coffer:route-access';

// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- Nest's ExecutionContext has this type
type Callable = Function;

/** A decorator for a method, or for a class: it then applies to each of its methods that declares nothing itself. */
export function declareAccess(access: RouteAccess): MethodDecorator & ClassDecorator {
  const declare = SetMetadata(ROUTE_ACCESS, access);
  // Fastify's route has it as well, because access is decided before a body is read (`authenticateBeforeBodies`).
  const configure = RouteConfig({ access } satisfies AccessConfig);
  const decorate = (target: object, key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    if (key !== undefined && descriptor !== undefined) {
      declare(target, key, descriptor);
      configure(target, key, descriptor);
      return;
    }
    const { prototype } = target as { prototype: object };
    for (const [name, method] of ownMethods(prototype)) {
      if (getDeclaredAccess(method.value as object) === undefined) configure(prototype, name, method);
    }
    declare(target as never);
  };
  return decorate;
}

/** The part of a Fastify route's `config` with its access. */
export type AccessConfig = { readonly access: RouteAccess };

/** Returns what the controller of a Fastify route declares; undefined for a route without a controller, such as a page. */
export function getRouteAccess<Scope extends string>(config: unknown): RouteAccess<Scope> | undefined {
  return (config as { readonly access?: RouteAccess<Scope> } | undefined)?.access;
}

export function ownMethods(prototype: object): [string, PropertyDescriptor][] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(
    ([name, { value }]) => name !== 'constructor' && typeof value === 'function',
  );
}

/** Returns what a method or a class declares; undefined when it declares nothing. */
export function getDeclaredAccess<Scope extends string>(target: object): RouteAccess<Scope> | undefined {
  return Reflect.getMetadata(ROUTE_ACCESS, target) as RouteAccess<Scope> | undefined;
}

/** Returns the declared access of a route, of its method or else of its class. It is cached, because metadata is slow to read. */
export class RouteAccessTable<Scope extends string> {
  private readonly known = new WeakMap<Callable, WeakMap<Callable, RouteAccess<Scope>>>();

  get(controller: Callable, handler: Callable): RouteAccess<Scope> {
    return this.known.get(handler)?.get(controller) ?? this.read(controller, handler);
  }

  /** Throws for a route that declares nothing: a forgotten decorator must never open a route. */
  private read(controller: Callable, handler: Callable): RouteAccess<Scope> {
    const access = getDeclaredAccess<Scope>(handler) ?? getDeclaredAccess<Scope>(controller);
    if (access === undefined) {
      throw new Error(`${controller.name}.${handler.name} declares neither @Public() nor @RequireScope()`);
    }
    const byController = this.known.get(handler) ?? new WeakMap<Callable, RouteAccess<Scope>>();
    this.known.set(handler, byController.set(controller, access));
    return access;
  }
}

/**
 * Any caller may use this route (or every route of this controller), with or without a key. Its requests are limited by network
 * address.
 *
 * @param uncounted the reason for a route whose requests are not limited.
 */
export function Public({ uncounted }: { readonly uncounted?: string } = {}): MethodDecorator &
  ClassDecorator {
  if (uncounted !== undefined) return declareAccess({ public: true, uncounted });
  return applyDecorators(declareAccess({ public: true }), ApiProblems('rate_limit_exceeded'));
}

/** One to 255 visible ASCII characters, plain or as an RFC 8941 string in double quotes. */
const KEY_PATTERN = /^(?:"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e]{1,255}))$/;

/** Returns the unquoted `Idempotency-Key`, or null when none was sent. Throws `InvalidRequestError` for a malformed one. */
export function parseIdempotencyKey(header: string | readonly string[] | undefined): string | null {
  if (header === undefined) return null;
  const match = typeof header === 'string' ? KEY_PATTERN.exec(header.trim()) : null;
  const key = match?.[1] ?? match?.[2];
  if (key === undefined) {
    throw new InvalidRequestError(
      'Idempotency-Key must be 1 to 255 visible ASCII characters.',
      'Idempotency-Key',
    );
  }
  return key;
}

/** `@IdempotencyKey() key: string | null` on a controller method. */
export const IdempotencyKey = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const request = context
    .switchToHttp()
    .getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  return parseIdempotencyKey(request.headers['idempotency-key']);
});

/** The part of Fastify's reply that a controller may use. */
export type Reply = { status(code: number): unknown; header(name: string, value: string): unknown };

/** Sets the status: 201 for what this request created, 200 for what an earlier one did. Returns the view. */
export function withReplayStatus<View extends { readonly replayed: boolean }>(
  reply: Reply,
  view: View,
): View {
  reply.status(view.replayed ? 200 : 201);
  return view;
}
