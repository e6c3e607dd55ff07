import type { FastifyInstance } from 'fastify';
import { ControlBodyError, readControlBody } from '../control-body.js';
import type { SandboxStripeControl } from './control.js';

type IdParams = { readonly Params: { readonly id: string } };

/** `MoneyControl` over HTTP; errors are answered as `control-routes.ts` answers them. */
export function registerMoneyControlRoutes(app: FastifyInstance, control: SandboxStripeControl): void {
  app.post('/_sandbox/disputes', (request) => {
    const body = readControlBody(request.body, {
      amount: 'integer',
      case_type: 'string',
      charge: 'string',
      reason: 'string',
      status: 'string',
    });
    return control.createDispute({
      charge: required(body.charge, 'charge'),
      ...(body.amount === undefined ? {} : { amountCents: body.amount }),
      ...(body.case_type === undefined ? {} : { caseType: body.case_type }),
      ...(body.reason === undefined ? {} : { reason: body.reason }),
      ...(body.status === undefined ? {} : { status: body.status }),
    });
  });

  app.post<IdParams>('/_sandbox/disputes/:id/move', (request) => {
    const { status } = readControlBody(request.body, { status: 'string' });
    return control.moveDispute(request.params.id, required(status, 'status'));
  });

  for (const [step, sign] of [
    ['withdraw', -1],
    ['reinstate', 1],
  ] as const) {
    app.post<IdParams>(`/_sandbox/disputes/:id/${step}`, (request) => {
      const { amount } = readControlBody(request.body, { amount: 'integer' });
      if (amount === undefined) throw new ControlBodyError('amount is required');
      return control.moveDisputeMoney(request.params.id, sign * amount);
    });
  }

  app.post('/_sandbox/early_fraud_warnings', (request) => {
    const body = readControlBody(request.body, { charge: 'string', fraud_type: 'string' });
    return control.warnOfFraud(required(body.charge, 'charge'), body.fraud_type);
  });

  app.post<IdParams>('/_sandbox/refunds/:id/succeed', (request) => control.succeedRefund(request.params.id));

  app.post<IdParams>('/_sandbox/refunds/:id/fail', (request) => {
    const { reason } = readControlBody(request.body, { reason: 'string' });
    return control.failRefund(request.params.id, reason);
  });

  app.post('/_sandbox/payouts', () => control.payOut());
  app.post<IdParams>('/_sandbox/payouts/:id/fail', (request) => control.failPayout(request.params.id));

  app.post<IdParams>('/_sandbox/payment_methods/:id/card', (request) => {
    const { card } = readControlBody(request.body, { card: 'string' });
    return control.changeCard(request.params.id, required(card, 'card'));
  });
}

function required(value: string | undefined, name: string): string {
  if (value === undefined) throw new ControlBodyError(`${name} is required`);
  return value;
}
