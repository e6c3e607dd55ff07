import { nowSeconds, type SandboxContext } from './context.js';
import { emitEvent } from './events.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import type { Customer } from './objects.js';
import { operation, type Operation } from './operation.js';
import {
  email,
  emptyable,
  list,
  metadata,
  notSimulated,
  isWithin,
  optional,
  text,
  timeRange,
} from './parameter-schema.js';

const INVOICE_PREFIX_LENGTH = 8;

const createParameters = {
  address: notSimulated,
  balance: notSimulated,
  business_name: notSimulated,
  cash_balance: notSimulated,
  description: optional(text()),
  email: optional(email()),
  individual_name: notSimulated,
  invoice_prefix: notSimulated,
  invoice_settings: notSimulated,
  metadata: optional(emptyable(metadata())),
  name: optional(text(256)),
  next_invoice_sequence: notSimulated,
  payment_method: notSimulated,
  phone: optional(text(20)),
  preferred_locales: optional(list(text(20), 50)),
  shipping: notSimulated,
  source: notSimulated,
  tax: notSimulated,
  tax_exempt: notSimulated,
  tax_id_data: notSimulated,
  test_clock: notSimulated,
  validate: notSimulated,
};

/** `param` is what named the id: 404 for the path's own `id`, 400 for any other parameter. */
export function requireCustomer(context: SandboxContext, id: string, param: string): Customer {
  const customer = context.store.customers.get(id);
  if (customer === undefined) throw resourceMissing('customer', id, param, param === 'id' ? 404 : 400);
  return customer;
}

export const customerOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/customers',
    parameters: createParameters,
    run: (context, params, { cause }) => {
      const id = stripeId('cus');
      const customer: Customer = {
        id,
        object: 'customer',
        address: null,
        balance: 0,
        created: nowSeconds(context),
        currency: null,
        customer_account: null,
        default_source: null,
        delinquent: false,
        description: params.description ?? null,
        discount: null,
        email: params.email ?? null,
        invoice_prefix: id.slice(-INVOICE_PREFIX_LENGTH).toUpperCase(),
        invoice_settings: {
          custom_fields: null,
          default_payment_method: null,
          footer: null,
          rendering_options: null,
        },
        livemode: false,
        metadata: params.metadata ?? {},
        name: params.name ?? null,
        next_invoice_sequence: 1,
        phone: params.phone ?? null,
        preferred_locales: params.preferred_locales ?? [],
        shipping: null,
        tax_exempt: 'none',
        test_clock: null,
      };
      context.store.customers.put(customer);
      emitEvent(context, 'customer.created', customer, cause);
      return customer;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/customers/:id',
    parameters: {},
    run: (context, _params, { id }) => requireCustomer(context, id, 'id'),
  }),
  operation({
    method: 'GET',
    path: '/v1/customers',
    parameters: {
      ...listParameters,
      created: optional(timeRange()),
      email: optional(email()),
      test_clock: notSimulated,
    },
    run: (context, params) => {
      const { created, email: wantedEmail } = params;
      const wanted = context.store.customers.newestFirst().filter((customer) => {
        if (!isWithin(created, customer.created)) return false;
        return wantedEmail === undefined || customer.email === wantedEmail;
      });
      return page(wanted, params, '/v1/customers', 'customer');
    },
  }),
];
