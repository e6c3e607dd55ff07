import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { SandboxContext } from './context.js';
import { paymentPageUrl } from './new-checkout-session.js';
import type { CheckoutSession } from './objects.js';
import { noticePage, payablePage, paymentPageSecurityPolicy, receiptPage } from './payment-page.js';
import { isPayable, payCheckoutSession, type CustomerAct, type PaymentOutcome } from './payments.js';

type SessionParams = { readonly id: string };
type PageParts = { readonly context: SandboxContext; readonly onCommitted: () => void };

/** The hosted page that `session.url` names: for a browser, and for `curl -X POST <url>/pay`. */
export function registerPaymentPage(app: FastifyInstance, { context, onCommitted }: PageParts): void {
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, body),
  );

  app.get<{ Params: SessionParams }>('/c/pay/:id', (request, reply) => {
    const record = context.store.checkoutSessions.get(request.params.id);
    if (record === undefined) return sendNotice(reply, { status: 'not_found' });
    const { object: session } = record;
    if (session.status === 'complete') return sendNotice(reply, { status: 'already_paid', session }, 200);
    if (!isPayable(context, session)) return sendNotice(reply, { status: 'expired', session });
    return sendPayable(context, reply, session, { httpStatus: 200, problem: null });
  });

  app.get<{ Params: SessionParams }>('/c/receipt/:id', (request, reply) => {
    const { charges, invoices } = context.store;
    const { id } = request.params;
    const paidCents = invoices.get(id)?.total ?? charges.get(id)?.amount_captured;
    if (paidCents === undefined) return sendHtml(reply, 404, receiptPage(id, null), null);
    return sendHtml(reply, 200, receiptPage(id, paidCents), null);
  });

  app.post<{ Params: SessionParams }>('/c/pay/:id/pay', async (request, reply) => {
    const outcome = payCheckoutSession(context, request.params.id, actOf(request));
    // The payment is on disk before it is reported: if the simulator is killed here, it still knows that it was paid.
    await context.store.flush();
    onCommitted();
    return wantsJson(request)
      ? sendJson(reply, outcome)
      : sendPage(context, reply, request.params.id, outcome);
  });
}

function actOf(request: FastifyRequest): CustomerAct {
  const { card, authentication } = fieldsOf(request.body);
  return {
    ...(typeof card === 'string' ? { card } : {}),
    authentication: authentication === 'fails' ? 'fails' : 'succeeds',
  };
}

function fieldsOf(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body === 'string') return Object.fromEntries(new URLSearchParams(body));
  return (body ?? {}) as Readonly<Record<string, unknown>>;
}

function wantsJson(request: FastifyRequest): boolean {
  return (request.headers.accept ?? '').includes('application/json');
}

const HTTP_STATUSES: Readonly<Record<PaymentOutcome['status'], number>> = {
  already_paid: 409,
  declined: 402,
  expired: 410,
  not_found: 404,
  paid: 200,
  unknown_card: 400,
};

function sendJson(reply: FastifyReply, outcome: PaymentOutcome): FastifyReply {
  return reply.status(HTTP_STATUSES[outcome.status]).send(outcome);
}

function sendPage(
  context: SandboxContext,
  reply: FastifyReply,
  sessionId: string,
  outcome: PaymentOutcome,
): FastifyReply {
  const httpStatus = HTTP_STATUSES[outcome.status];
  switch (outcome.status) {
    case 'paid':
      return reply.redirect(successUrl(outcome.session), 303);
    case 'declined': {
      const problem = `${outcome.error.message} Try another card.`;
      return sendPayable(context, reply, outcome.session, { httpStatus, problem });
    }
    case 'unknown_card': {
      const session = context.store.checkoutSessions.get(sessionId)?.object;
      const problem = 'The sandbox does not know this card number. Choose one of the test cards.';
      return session === undefined
        ? sendNotice(reply, { status: 'not_found' })
        : sendPayable(context, reply, session, { httpStatus, problem });
    }
    case 'already_paid':
    case 'expired':
      return sendNotice(reply, { status: outcome.status, session: outcome.session });
    case 'not_found':
      return sendNotice(reply, { status: 'not_found' });
  }
}

function successUrl(session: CheckoutSession): string {
  return session.success_url.replaceAll('{CHECKOUT_SESSION_ID}', session.id);
}

type Shown = { readonly httpStatus: number; readonly problem: string | null };

function sendPayable(
  context: SandboxContext,
  reply: FastifyReply,
  session: CheckoutSession,
  { httpStatus, problem }: Shown,
): FastifyReply {
  const record = context.store.checkoutSessions.get(session.id);
  if (record === undefined) return sendNotice(reply, { status: 'not_found' });
  const url = paymentPageUrl(context, session.id);
  return sendHtml(reply, httpStatus, payablePage({ record, url, problem }), session.success_url);
}

type Notice =
  | { readonly status: 'already_paid' | 'expired'; readonly session: CheckoutSession }
  | { readonly status: 'not_found' };

function sendNotice(
  reply: FastifyReply,
  notice: Notice,
  httpStatus = HTTP_STATUSES[notice.status],
): FastifyReply {
  switch (notice.status) {
    case 'already_paid': {
      const link = { href: successUrl(notice.session), text: 'Continue' };
      return sendHtml(reply, httpStatus, noticePage('Already paid', 'This payment is complete.', link), null);
    }
    case 'expired': {
      const { cancel_url: cancelUrl } = notice.session;
      const link = cancelUrl === null ? null : { href: cancelUrl, text: 'Go back' };
      const text = 'This payment page has expired. Nothing was charged.';
      return sendHtml(reply, httpStatus, noticePage('Page expired', text, link), null);
    }
    case 'not_found':
      return sendHtml(
        reply,
        httpStatus,
        noticePage('Not found', 'There is no such payment page.', null),
        null,
      );
  }
}

function sendHtml(
  reply: FastifyReply,
  httpStatus: number,
  page: string,
  successUrl: string | null,
): FastifyReply {
  return reply
    .status(httpStatus)
    .header('Content-Type', 'text/html; charset=utf-8')
    .header('Content-Security-Policy', paymentPageSecurityPolicy(successUrl))
    .header('Cache-Control', 'no-store')
    .header('Referrer-Policy', 'no-referrer')
    .header('X-Content-Type-Options', 'nosniff')
    .send(page);
}
