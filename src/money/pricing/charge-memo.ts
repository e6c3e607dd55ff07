/** What a charge bought, as the memo of its ledger row has it. */
export type ChargeMemo = { readonly model: string; readonly images: number; readonly priceId: string };

/** Formats model, images and price version: `black-forest-labs/flux-2-klein-9b x2 @price_01…`. */
export function formatChargeMemo(charge: ChargeMemo): string {
  return `${charge.model} x${charge.images} @${charge.priceId}`;
}

/** The pattern uses ASCII blanks and digits only, like the SQL below, because both must read every memo alike. */
const MEMO_PATTERN = /^([^ \t\n\v\f\r]+) x([0-9]{1,4}) @(price_[^ \t\n\v\f\r]+)$/;

/**
 * Returns null for a memo that a person wrote. A caller that accepts memos from customers must refuse one that this function
 * can read, because it would be counted as images that were never bought.
 */
export function parseChargeMemo(memo: string | null): ChargeMemo | null {
  const match = memo === null ? null : MEMO_PATTERN.exec(memo);
  const [, model, images, priceId] = match ?? [];
  if (model === undefined || images === undefined || priceId === undefined) return null;
  return { model, images: Number(images), priceId };
}

/**
 * The same in SQL, for the text column `memo`: an array of model and number of images, both text, or null for a memo that a
 * person wrote. It uses no regular expression, because PostgreSQL builds its states again for every row, which was most of the
 * cost of adding up a charge. Blanks are written as codes, because older versions read `\v` as the letter. Each `OFFSET 0` keeps
 * the planner from computing the same value again for every reference to it.
 */
export function chargeMemoParts(memo: string): string {
  return `(
    SELECT CASE WHEN cardinality(w.words) = 3 AND w.words[1] <> '' AND w.words[2] LIKE 'x_%' AND length(w.words[2]) <= 5
                 AND ltrim(substr(w.words[2], 2), '0123456789') = '' AND w.words[3] LIKE '@price\\__%'
                 AND translate(${memo}, E'\\x09\\x0A\\x0B\\x0C\\x0D', '') = ${memo}
                THEN ARRAY[w.words[1], substr(w.words[2], 2)] END AS parts
      FROM (SELECT string_to_array(${memo}, ' ') AS words OFFSET 0) w OFFSET 0)`;
}
