import { divHalfUp } from '../money.js';
import type { SandboxContext } from './context.js';
import { emitEvent } from './events.js';
import { CAUSED_BY_NO_REQUEST } from './context.js';
import { invalidRequest, notSimulatedError } from './errors.js';
import type { CreateSessionValues } from './checkout-session-parameters.js';
import type { Address, CheckoutSession, LineItem } from './objects.js';
import type { CheckoutSessionRecord } from './store.js';

/** The simulator's only tax: 8.25% on every line, in addition to its price, for any address. */
const TAX_BPS = 825n;
const BPS_OF_ONE = 10_000n;

/** What the customer types on the payment page when it asks for an address. */
export const CUSTOMER_ADDRESS: Address = {
  city: 'Austin',
  country: 'US',
  line1: '1 Sandbox Street',
  line2: null,
  postal_code: '78701',
  state: 'TX',
};

export const NO_TAX: CheckoutSession['automatic_tax'] = {
  enabled: false,
  liability: null,
  provider: null,
  status: null,
};

/** Refuses what Stripe refuses when it computes a tax, and what the simulator does not implement. */
export function automaticTaxOf(
  context: SandboxContext,
  params: CreateSessionValues,
): CheckoutSession['automatic_tax'] {
  if (params.customer_update !== undefined && params.customer === undefined) {
    throw invalidRequest('`customer_update` can only be used with `customer`.', { param: 'customer_update' });
  }
  if (params.automatic_tax?.enabled !== true) return NO_TAX;
  const customer = context.store.customers.get(params.customer ?? '');
  if (customer?.address === null && params.customer_update?.address !== 'auto') {
    throw invalidRequest(
      'Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the ' +
        "Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save " +
        'the address entered in Checkout to the Customer.',
      { code: 'customer_tax_location_invalid' },
    );
  }
  params.line_items.forEach(({ price_data: { tax_behavior: behavior } }, index) => {
    const param = `line_items[${index}][price_data][tax_behavior]`;
    if (behavior === 'inclusive') throw notSimulatedError(param, behavior);
    // Stripe uses the account's own setting in this case, which the simulator does not have.
    if (behavior === 'exclusive') return;
    throw invalidRequest('A tax behavior is needed to calculate tax automatically.', { param });
  });
  return {
    enabled: true,
    liability: { type: 'self' },
    provider: 'stripe',
    status: 'requires_location_inputs',
  };
}

/** Returns the session after Stripe knows where the customer lives; unchanged when it already knew. */
export function withTax(record: CheckoutSessionRecord): CheckoutSessionRecord {
  const { object: session } = record;
  if (session.automatic_tax.status !== 'requires_location_inputs') return record;
  const lineItems = record.lineItems.map(taxed);
  const taxCents = lineItems.reduce((sum, item) => sum + item.amount_tax, 0);
  return {
    ...record,
    lineItems,
    object: {
      ...session,
      amount_total: session.amount_subtotal + taxCents,
      automatic_tax: { ...session.automatic_tax, status: 'complete' },
      total_details: { ...session.total_details, amount_tax: taxCents },
    },
  };
}

/** Each line is rounded half up to the cent. Stripe reports this tax, and no other code computes it again. */
function taxed(item: LineItem): LineItem {
  const taxCents = Number(divHalfUp(BigInt(item.amount_subtotal) * TAX_BPS, BPS_OF_ONE));
  return { ...item, amount_tax: taxCents, amount_total: item.amount_subtotal + taxCents };
}

/** The customer keeps the address that was entered. */
export function keepAddress(context: SandboxContext, record: CheckoutSessionRecord): void {
  const customer = context.store.customers.get(record.object.customer ?? '');
  if (customer === undefined || !record.keepsAddress || customer.address !== null) return;
  const changed = { ...customer, address: CUSTOMER_ADDRESS };
  context.store.customers.put(changed);
  emitEvent(context, 'customer.updated', changed, CAUSED_BY_NO_REQUEST, { address: null });
}
