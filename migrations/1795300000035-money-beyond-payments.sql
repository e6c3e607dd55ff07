-- A write-off is reversed when the money that it gave up comes back. What Stripe took is always booked, also beyond what is
-- left of a payment: that part is a loss of ours, under kinds of its own, and comes back when the money does.
SET LOCAL lock_timeout = '5s';

-- Not validated: the rows that are there keep the rule that was, which allowed less.
ALTER TABLE transfers DROP CONSTRAINT transfers_posting_rule;
ALTER TABLE transfers ADD CONSTRAINT transfers_posting_rule CHECK (
  kind || ' ' || debit_account || ' ' || credit_account = ANY ('{
    capture customer_promo usage_revenue, capture customer_credit usage_revenue,
    debit customer_promo usage_revenue, debit customer_credit usage_revenue,
    top_up stripe_clearing customer_credit, top_up_fee stripe_clearing platform_fee_revenue, top_up_tax stripe_clearing tax_payable,
    grant promotional_credit customer_promo,
    expiry customer_promo promotional_credit, expiry customer_credit breakage_revenue,
    refund customer_credit stripe_clearing, refund_fee platform_fee_revenue stripe_clearing, refund_tax tax_payable stripe_clearing,
    refund_excess dispute_losses stripe_clearing,
    dispute customer_credit stripe_clearing, dispute_fee platform_fee_revenue stripe_clearing, dispute_tax tax_payable stripe_clearing,
    dispute_excess dispute_losses stripe_clearing,
    reinstatement stripe_clearing customer_credit, reinstatement_fee stripe_clearing platform_fee_revenue,
    reinstatement_tax stripe_clearing tax_payable, reinstatement_excess stripe_clearing dispute_losses,
    write_off dispute_losses customer_credit, write_off_reversal customer_credit dispute_losses,
    adjustment goodwill customer_credit, adjustment customer_credit goodwill,
    processor_fee processor_fees stripe_clearing, processor_fee_return stripe_clearing processor_fees,
    payout bank stripe_clearing, payout_return stripe_clearing bank,
    upstream_cost upstream_cost upstream_payable
  }'::text[])
  AND (account_id = 'acct_platform'
       OR kind <> ALL ('{processor_fee, processor_fee_return, payout, payout_return, upstream_cost}'::text[]))
) NOT VALID;

-- Every cent that goes back is credit, fee, tax, or beyond the payment. Defaults, because processes of the last version
-- still write rows while this one is rolled out.
ALTER TABLE disputes
  ADD COLUMN excess_micros bigint NOT NULL DEFAULT 0,
  DROP CONSTRAINT disputes_amounts,
  ADD CONSTRAINT disputes_amounts CHECK (
    amount_cents > 0 AND credit_micros >= 0 AND fee_micros >= 0 AND tax_micros >= 0 AND excess_micros >= 0
    AND (credit_micros > 0 OR excess_micros > 0)
    AND credit_micros + fee_micros + coalesce(tax_micros, 0) + excess_micros = amount_cents * 10000);
CREATE TRIGGER disputes_excess_fixed BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (OLD.credit_micros IS NOT NULL AND NEW.excess_micros IS DISTINCT FROM OLD.excess_micros)
  EXECUTE FUNCTION refuse_dispute_change();

ALTER TABLE refunds
  ADD COLUMN excess_micros bigint NOT NULL DEFAULT 0,
  DROP CONSTRAINT refunds_amounts,
  ADD CONSTRAINT refunds_amounts CHECK (
    credit_micros >= 0 AND fee_micros >= 0 AND tax_micros >= 0 AND excess_micros >= 0
    AND (credit_micros > 0 OR excess_micros > 0)
    AND credit_micros + fee_micros + tax_micros + excess_micros = amount_cents * 10000);
CREATE TRIGGER refunds_excess_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (NEW.excess_micros IS DISTINCT FROM OLD.excess_micros) EXECUTE FUNCTION refuse_refund_change();

-- Refunds whose credit was spent waited for a person that could do nothing. They go on: see `refund.machine.ts`.
DROP TRIGGER refunds_fixed ON refunds;
CREATE TRIGGER refunds_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (
    (OLD.status IN ('failed', 'refused') AND NEW.status <> OLD.status)
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.credit_micros, NEW.fee_micros, NEW.amount_cents, NEW.lot_id, NEW.return_lot_id)
      IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.credit_micros, OLD.fee_micros, OLD.amount_cents, OLD.lot_id, OLD.return_lot_id)
  ) EXECUTE FUNCTION refuse_refund_change();
