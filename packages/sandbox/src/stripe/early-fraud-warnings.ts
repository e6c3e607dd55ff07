import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import { ofPayment, page, paymentListParameters } from './lists.js';
import type { EarlyFraudWarning } from './money-out-objects.js';
import type { Charge } from './objects.js';
import { operation, type Operation } from './operation.js';

export const FRAUD_TYPES: readonly string[] = [
  'card_never_received',
  'fraudulent_card_application',
  'made_with_counterfeit_card',
  'made_with_lost_card',
  'made_with_stolen_card',
  'misc',
  'unauthorized_use_of_card',
];

/** The issuer suspects fraud; no money moves. */
export function warnOfFraud(
  context: SandboxContext,
  charge: Charge,
  fraudType: string,
  cause: Cause,
): EarlyFraudWarning {
  const current = context.store.charges.get(charge.id) ?? charge;
  const warning: EarlyFraudWarning = {
    id: stripeId('issfr'),
    object: 'radar.early_fraud_warning',
    actionable: isActionable(current),
    charge: charge.id,
    created: nowSeconds(context),
    fraud_type: fraudType,
    livemode: false,
    payment_intent: charge.payment_intent,
  };
  context.store.earlyFraudWarnings.put(warning);
  emitEvent(context, 'radar.early_fraud_warning.created', warning, cause);
  return warning;
}

/** Once the charge is disputed or given back there is nothing left to do about a warning. */
function isActionable(charge: Charge): boolean {
  return !charge.disputed && !charge.refunded;
}

/** To be called after anything that changed `disputed` or `refunded`. */
export function refreshWarnings(context: SandboxContext, charge: Charge, cause: Cause): void {
  const actionable = isActionable(charge);
  for (const warning of context.store.earlyFraudWarnings.oldestFirst()) {
    if (warning.charge !== charge.id || warning.actionable === actionable) continue;
    const refreshed = { ...warning, actionable };
    context.store.earlyFraudWarnings.put(refreshed);
    const previously = { actionable: warning.actionable };
    emitEvent(context, 'radar.early_fraud_warning.updated', refreshed, cause, previously);
  }
}

export const earlyFraudWarningOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/radar/early_fraud_warnings/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const warning = context.store.earlyFraudWarnings.get(id);
      if (warning === undefined) throw resourceMissing('issuer fraud record', id, 'id', 404);
      return warning;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/radar/early_fraud_warnings',
    parameters: paymentListParameters,
    run: (context, params) => {
      const wanted = ofPayment(context.store.earlyFraudWarnings.newestFirst(), params);
      return page(wanted, params, '/v1/radar/early_fraud_warnings', 'issuer fraud record');
    },
  }),
];
