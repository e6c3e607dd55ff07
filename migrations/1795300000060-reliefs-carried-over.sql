-- The doctor plays reliefs again and compares them to the micro-dollar. It cannot where an earlier release began: what was owed beside
-- a relief nobody wrote down, and what came back as credit that goes to no card followed other rules. It is told which accounts those are.
SET LOCAL lock_timeout = '5s';

CREATE TABLE reliefs_carried_over (
  account_id  text COLLATE "C" NOT NULL,
  CONSTRAINT reliefs_carried_over_pkey PRIMARY KEY (account_id)
);
INSERT INTO reliefs_carried_over
SELECT account_id FROM debt_reliefs
 UNION
SELECT account_id FROM credit_lots WHERE source = 'reinstatement' AND NOT refundable;
