import { currentBalanceTransaction } from './balance-availability.js';
import type { SandboxContext } from './context.js';
import { invalidRequest } from './errors.js';
import { lineItemList } from './line-items.js';
import type { StripeList, StripeObject } from './objects.js';

export const EXPAND_DEPTH_MAX = 4;

type Json = Readonly<Record<string, unknown>>;
type Expander = (context: SandboxContext, value: string, owner: Json) => Json | undefined;

const customer: Expander = (context, id) => context.store.customers.get(id);
const invoice: Expander = (context, id) => context.store.invoices.get(id);
const charge: Expander = (context, id) => context.store.charges.get(id);
const paymentIntent: Expander = (context, id) => context.store.paymentIntents.get(id);
const paymentMethod: Expander = (context, id) => context.store.paymentMethods.get(id)?.object;
const balanceTransaction: Expander = (context, id) => {
  const transaction = context.store.balanceTransactions.get(id);
  return transaction === undefined ? undefined : currentBalanceTransaction(context, transaction);
};
const balanceTransactionSource: Expander = ({ store }, id) =>
  store.charges.get(id) ?? store.refunds.get(id) ?? store.disputes.get(id) ?? store.payouts.get(id)?.object;

/** Which members of which object hold the id of another object. */
const EXPANDERS: Readonly<Record<string, Readonly<Record<string, Expander>>>> = {
  'checkout.session': { customer, invoice, payment_intent: paymentIntent },
  invoice: { customer },
  payment_intent: { customer, latest_charge: charge, payment_method: paymentMethod },
  payment_method: { customer },
  charge: {
    balance_transaction: balanceTransaction,
    customer,
    failure_balance_transaction: balanceTransaction,
    payment_intent: paymentIntent,
  },
  refund: {
    balance_transaction: balanceTransaction,
    charge,
    customer,
    failure_balance_transaction: balanceTransaction,
    payment_intent: paymentIntent,
    payment_method: paymentMethod,
  },
  dispute: { charge, payment_intent: paymentIntent },
  'radar.early_fraud_warning': { charge, payment_intent: paymentIntent },
  payout: { balance_transaction: balanceTransaction, failure_balance_transaction: balanceTransaction },
  balance_transaction: { source: balanceTransactionSource },
};

/** Members that are absent unless they are asked for. */
const INCLUDABLES: Readonly<Record<string, Readonly<Record<string, Expander>>>> = {
  'checkout.session': {
    line_items: (context, _value, owner) => {
      const record = context.store.checkoutSessions.get(String(owner['id']));
      return record === undefined ? undefined : lineItemList(record);
    },
  },
  charge: { refunds: (context, _value, owner) => refundList(context, String(owner['id'])) },
};

/** The first page, as every list inside an object. */
function refundList(context: SandboxContext, chargeId: string): StripeList {
  const pageSize = 10;
  const refunds = context.store.refunds.newestFirst().filter((refund) => refund.charge === chargeId);
  return {
    object: 'list',
    url: `/v1/charges/${chargeId}/refunds`,
    has_more: refunds.length > pageSize,
    data: refunds.slice(0, pageSize),
  };
}

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
