/** What a charge bought, in the one line that stands on its ledger row. */
export type ChargeMemo = { readonly model: string; readonly images: number; readonly priceId: string };

/** `black-forest-labs/flux-2-klein-9b x2 @price_01…`: model, images and price version. */
export function formatChargeMemo(charge: ChargeMemo): string {
  return `${charge.model} x${charge.images} @${charge.priceId}`;
}

/** Of ASCII's blanks and digits only, as in SQL below: the two must read every memo alike. */
const MEMO_PATTERN = /^([^ \t\n\v\f\r]+) x([0-9]{1,4}) @(price_[^ \t\n\v\f\r]+)$/;

/**
 * Null for a memo that a person wrote. Whoever takes a memo from outside refuses one that this reads: it would be counted as
 * images of a model that nobody bought.
 */
export function parseChargeMemo(memo: string | null): ChargeMemo | null {
  const match = memo === null ? null : MEMO_PATTERN.exec(memo);
  const [, model, images, priceId] = match ?? [];
  if (model === undefined || images === undefined || priceId === undefined) return null;
  return { model, images: Number(images), priceId };
}

/**
 * The same in SQL, over the text column `memo`: an array of model and number of images, both text, or null for a memo that a
 * person wrote. Without a regular expression: PostgreSQL builds its states anew for every row, which was most of what
 * adding up a charge cost. Blanks stand by their codes: to older versions `\v` is the
 * letter. Each `OFFSET 0` keeps the planner from computing the same thing once for every place that reads it.
 */
export function chargeMemoParts(memo: string): string {
  return `(
    SELECT CASE WHEN cardinality(w.words) = 3 AND w.words[1] <> '' AND w.words[2] LIKE 'x_%' AND length(w.words[2]) <= 5
                 AND ltrim(substr(w.words[2], 2), '0123456789') = '' AND w.words[3] LIKE '@price\\__%'
                 AND translate(${memo}, E'\\x09\\x0A\\x0B\\x0C\\x0D', '') = ${memo}
                THEN ARRAY[w.words[1], substr(w.words[2], 2)] END AS parts
      FROM (SELECT string_to_array(${memo}, ' ') AS words OFFSET 0) w OFFSET 0)`;
}
