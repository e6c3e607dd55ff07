import { expect } from '@jest/globals';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { Left, Step } from './return-histories.js';
import type { TestApp, TestCustomer } from '../app/test-app.js';
import { openPage, settled, type OpenTopUp } from '../../fixtures/top-up-books.js';

/** A customer, a new one if none is given, who has just paid $10.50 for $10.00 of credit. */
export async function beginHistory(
  app: TestApp,
  control: SandboxStripeControl,
  customer?: TestCustomer,
): Promise<ReturnHistory> {
  const topUp = await openPage(customer ?? (await app.createCustomer()), { credit_cents: 1_000 });
  await control.pay(topUp.sessionId);
  await settled(app);
  return new ReturnHistory(app, control, topUp);
}

export class ReturnHistory {
  /** Of the dispute that came last. */
  disputeId = '';
  private count = 0;

  constructor(
    private readonly app: TestApp,
    private readonly control: SandboxStripeControl,
    private readonly topUp: OpenTopUp,
  ) {}

  get customer(): TestCustomer {
    return this.topUp.customer;
  }

  get topUpId(): string {
    return this.topUp.id;
  }

  get accountId(): string {
    return this.topUp.customer.accountId;
  }

  async take(step: Step): Promise<void> {
    await this.begin(step);
    await settled(this.app);
  }

  async left(): Promise<Left> {
    const { accountId, client } = this.topUp.customer;
    const rows = await this.app.dataSource.query<{ kind: string; cents: number }[]>(
      `SELECT kind, (sum(amount_micros) / 10000)::int AS cents FROM transfers WHERE account_id = $1 GROUP BY kind`,
      [accountId],
    );
    const { body } = (await client.get('/v1/wallet')).expect(200);
    return {
      legs: Object.fromEntries(rows.map(({ kind, cents }) => [kind, cents])),
      available: Number(body.available_micros) / 10_000,
      debt: Number(body.debt_micros) / 10_000,
      status: body.status as 'frozen',
    };
  }

  /** Without waiting for what follows from it. */
  async begin(step: Step): Promise<void> {
    const { accountId, client } = this.topUp.customer;
    const { operator } = this.app;
    this.count += 1;
    switch (step[0]) {
      case 'top_up': {
        const answer = await client.post('/v1/top_ups', { credit_cents: step[1] });
        const url = String(answer.expect(201).body.checkout_url);
        await this.control.pay(url.split('/').at(-1) ?? '');
        return;
      }
      case 'grant': {
        const grant = { amount_micros: `${step[1] * 10_000}`, reason: 'welcome' };
        (await operator.post(`/v1/accounts/${accountId}/grants`, grant)).expect(201);
        return;
      }
      case 'spend':
      case 'hold': {
        const body = {
          account: accountId,
          reference: `step-${this.topUp.id}-${this.count}`,
          amount_micros: `${step[1] * 10_000}`,
        };
        (await operator.post(step[0] === 'spend' ? '/v1/debits' : '/v1/holds', body)).expect(201);
        return;
      }
      case 'refund': {
        const body = step[1] === 'all' ? {} : { credit_cents: step[1] };
        const answer = await client.post(`/v1/top_ups/${this.topUp.id}/refund`, body);
        if (step[2] === undefined) answer.expect(200);
        else expect(answer.expect(409).body.error.code).toBe(step[2]);
        return;
      }
      case 'refund_elsewhere': {
        const { secretKey } = this.app.settings.stripe ?? { secretKey: '' };
        const answer = await fetch(`${this.app.stripe?.baseUrl}/v1/refunds`, {
          method: 'POST',
          headers: { authorization: `Bearer ${secretKey}` },
          body: new URLSearchParams({ charge: await this.chargeId(), amount: `${step[1]}` }),
        });
        expect(answer.status).toBe(200);
        return;
      }
      case 'refund_fails': {
        await this.control.failRefund(await this.stripeRefundId());
        return;
      }
      case 'dispute': {
        const amount = step[2] === undefined ? {} : { amountCents: step[2] };
        const request = { charge: await this.chargeId(), status: step[1], reason: 'fraudulent', ...amount };
        this.disputeId = (await this.control.createDispute(request)).id;
        return;
      }
      case 'becomes':
        await this.control.moveDispute(this.disputeId, step[1]);
        return;
      case 'dispute_moves':
        await this.control.moveDisputeMoney(this.disputeId, step[1]);
        return;
      case 'write_off':
        (await operator.post(`/v1/accounts/${accountId}/disputes/${this.disputeId}/write_off`, {})).expect(
          200,
        );
        return;
      case 'unfreeze': {
        const answer = await operator.post(`/v1/accounts/${accountId}/unfreeze`, { reason: 'looked at' });
        if (step[1] === undefined) answer.expect(200);
        else expect(answer.expect(409).body.error.code).toBe(step[1]);
        return;
      }
      case 'warning':
        await this.control.warnOfFraud(await this.chargeId());
        return;
    }
  }

  /** Of the refund that came last. */
  async stripeRefundId(): Promise<string> {
    const rows = await this.app.dataSource.query<{ id: string }[]>(
      'SELECT stripe_refund_id AS id FROM refunds WHERE account_id = $1 ORDER BY id DESC LIMIT 1',
      [this.accountId],
    );
    return rows[0]?.id ?? '';
  }

  private async chargeId(): Promise<string> {
    const rows = await this.app.dataSource.query<{ id: string }[]>(
      'SELECT payment_intent_id AS id FROM top_ups WHERE id = $1',
      [this.topUp.id],
    );
    const charge = this.control
      .events('charge.succeeded')
      .find(({ data }) => data.object['payment_intent'] === rows[0]?.id);
    return String(charge?.data.object['id']);
  }
}
