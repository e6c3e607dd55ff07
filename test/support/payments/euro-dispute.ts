import { StripeBalanceJob } from '../../../src/finance/reconciliation/stripe-balance.job.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { settled } from '../../fixtures/top-up-books.js';
import type { TestApp } from '../app/test-app.js';
import { beginHistory, type ReturnHistory } from './return-history.js';

export type EuroDispute = { readonly history: ReturnHistory; readonly balanceTransactionId: string };

/** A dispute that took €9.80 out of a balance in euros: no one knows what that is in US dollars. */
export async function disputeInEuros(app: TestApp, control: SandboxStripeControl): Promise<EuroDispute> {
  const history = await beginHistory(app, control);
  control.setWebhookFaults({ loseEvents: true });
  await history.begin(['dispute', 'needs_response', 1_050]);
  control.clearFaults();
  const event = control.events('charge.dispute.funds_withdrawn')[0];
  const dispute = event?.data.object as unknown as { id: string; balance_transactions: { id: string }[] };
  const [moved] = dispute.balance_transactions;
  const balanceTransactionId = moved?.id ?? '';
  const inEuros = { currency: 'eur', amount: -980, fee: 0, net: -980 };
  await control.overrideMoney('disputes', dispute.id, {
    currency: 'eur',
    amount: 980,
    balance_transactions: [{ ...moved, ...inEuros }],
  });
  await control.overrideMoney('balanceTransactions', balanceTransactionId, inEuros);
  await control.sendEvent(event?.id ?? '');
  await settled(app);
  await app.app.get(StripeBalanceJob).run();
  return { history, balanceTransactionId };
}
