import type { SandboxContext } from './context.js';
import { invalidRequest } from './errors.js';
import { lineItemList } from './line-items.js';
import type { StripeList, StripeObject } from './objects.js';

export const EXPAND_DEPTH_MAX = 4;

type Json = Readonly<Record<string, unknown>>;
type Expander = (context: SandboxContext, value: string, owner: Json) => Json | undefined;

/** Which members of which object hold the id of another object. */
const EXPANDERS: Readonly<Record<string, Readonly<Record<string, Expander>>>> = {
  'checkout.session': {
    customer: (context, id) => context.store.customers.get(id),
    payment_intent: (context, id) => context.store.paymentIntents.get(id),
  },
  payment_intent: {
    customer: (context, id) => context.store.customers.get(id),
    latest_charge: (context, id) => context.store.charges.get(id),
  },
  charge: {
    balance_transaction: (context, id) => context.store.balanceTransactions.get(id),
    customer: (context, id) => context.store.customers.get(id),
    payment_intent: (context, id) => context.store.paymentIntents.get(id),
  },
  balance_transaction: {
    source: (context, id) => context.store.charges.get(id),
  },
};

/** Members that are absent unless they are asked for. */
const INCLUDABLES: Readonly<Record<string, Readonly<Record<string, Expander>>>> = {
  'checkout.session': {
    line_items: (context, _value, owner) => {
      const record = context.store.checkoutSessions.get(String(owner['id']));
      return record === undefined ? undefined : lineItemList(record);
    },
  },
};

/** Replaces ids with their objects along `paths` (`latest_charge.balance_transaction`, `data.customer`). */
export function expandObject(
  context: SandboxContext,
  object: StripeList | StripeObject,
  paths: readonly string[],
): Json {
  let expanded: Json = object;
  for (const [index, path] of paths.entries()) {
    expanded = expandPath(context, expanded, path.split('.'), { path, param: `expand[${index}]` });
  }
  return expanded;
}

type Asked = { readonly path: string; readonly param: string };

function expandPath(context: SandboxContext, owner: Json, segments: readonly string[], asked: Asked): Json {
  const [segment, ...rest] = segments;
  if (segment === undefined) return owner;
  if (owner['object'] === 'list' && segment === 'data') {
    const items = owner['data'] as readonly Json[];
    return { ...owner, data: items.map((item) => expandPath(context, item, rest, asked)) };
  }
  const member = expandMember(context, owner, segment, asked);
  if (typeof member !== 'object' || member === null) return { ...owner, [segment]: member };
  return { ...owner, [segment]: expandPath(context, member as Json, rest, asked) };
}

function expandMember(context: SandboxContext, owner: Json, segment: string, asked: Asked): unknown {
  const kind = String(owner['object']);
  const value = owner[segment];
  const includable = ownEntry(INCLUDABLES[kind], segment);
  if (includable !== undefined) return value ?? includable(context, '', owner);
  const expander = ownEntry(EXPANDERS[kind], segment);
  if (expander === undefined) {
    throw invalidRequest(
      `This property cannot be expanded (${segment} of ${asked.path}). You may want to try expanding another property.`,
      { param: asked.param },
    );
  }
  return typeof value === 'string' ? (expander(context, value, owner) ?? value) : (value ?? null);
}

function ownEntry<T>(entries: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return entries !== undefined && Object.hasOwn(entries, name) ? entries[name] : undefined;
}
