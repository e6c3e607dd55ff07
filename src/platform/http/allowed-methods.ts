import type { FastifyInstance } from 'fastify';
import { MethodNotAllowedError, RouteNotFoundError } from '../errors/common.errors.js';
import type { Problem } from '../errors/problem.js';

/** Knows every registered route, to tell a wrong method (405) from a wrong path (404). */
export class AllowedMethods {
  private readonly methods = new Map<string, Set<string>>();

  constructor(fastify: FastifyInstance) {
    fastify.addHook('onRoute', (route) => {
      const known = this.methods.get(route.url) ?? new Set<string>();
      for (const method of [route.method].flat()) known.add(method);
      this.methods.set(route.url, known);
    });
  }

  /** Runs only for requests that matched no route. */
  problemFor(path: string): Problem {
    const allowed = new Set<string>();
    for (const [pattern, methods] of this.methods) {
      if (matches(pattern, path)) for (const method of methods) allowed.add(method);
    }
    return allowed.size === 0 ? new RouteNotFoundError() : new MethodNotAllowedError([...allowed].sort());
  }
}

function matches(pattern: string, path: string): boolean {
  const expected = pattern.split('/');
  const actual = path.split('/');
  for (const [index, part] of expected.entries()) {
    if (part === '*') return true;
    if (part.startsWith(':') ? !actual[index] : part !== actual[index]) return false;
  }
  return expected.length === actual.length;
}
