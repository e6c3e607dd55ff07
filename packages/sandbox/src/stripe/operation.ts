import type { Cause, SandboxContext } from './context.js';
import { EXPAND_DEPTH_MAX } from './expansion.js';
import type { FormHash } from './form-encoding.js';
import { invalidRequest } from './errors.js';
import type { StripeList, StripeObject } from './objects.js';
import {
  hash,
  list,
  optional,
  text,
  type Members,
  type Parameter,
  type ValuesOf,
} from './parameter-schema.js';

type Target = { readonly id: string; readonly cause: Cause };
type Answer = StripeList | StripeObject;

/** One route of the API: what it accepts, and what it does. `run` is synchronous, therefore atomic. */
export type Operation = {
  readonly method: 'GET' | 'POST';
  /** With at most one parameter, `:id`. */
  readonly path: string;
  readonly members: Members;
  /** Reads every parameter first; throws `StripeApiError` 400. */
  readonly prepare: (form: FormHash) => PreparedOperation;
};

export type PreparedOperation = {
  readonly expand: readonly string[];
  readonly run: (context: SandboxContext, target: Target) => Answer;
};

const expandParameter: Parameter<readonly string[] | undefined> = optional(list(text(255), 20));

/** Every operation also takes `expand`, as every one of Stripe's does. */
export function operation<M extends Members>(definition: {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly parameters: M;
  readonly run: (context: SandboxContext, params: ValuesOf<M>, target: Target) => Answer;
}): Operation {
  const members = { ...definition.parameters, expand: expandParameter };
  const whole = hash(members);
  return {
    method: definition.method,
    path: definition.path,
    members,
    prepare: (form) => {
      const params = whole.read(form, '') as ValuesOf<M> & { expand: readonly string[] | undefined };
      const expand = params.expand ?? [];
      assertExpandDepth(expand);
      return { expand, run: (context, target) => definition.run(context, params, target) };
    },
  };
}

function assertExpandDepth(paths: readonly string[]): void {
  for (const [index, path] of paths.entries()) {
    if (path.split('.').length <= EXPAND_DEPTH_MAX) continue;
    throw invalidRequest(`You cannot expand more than ${EXPAND_DEPTH_MAX} levels of a property: ${path}.`, {
      param: `expand[${index}]`,
    });
  }
}
