import { times, type MicroUsd } from '../../platform/common/money.js';

/** One version of the price of one image of a model. Every charge stores the id of the price that it was made with. */
export type Price = {
  readonly id: string;
  readonly model: string;
  readonly version: number;
  readonly unit: 'image';
  /** The price of one image; 0 for a free model. */
  readonly amountMicros: MicroUsd;
  readonly effectiveFromMs: number;
};

/** The cost is exact: a price is for a whole image, so nothing is rounded. */
export function computeCost(price: Price, images: number): MicroUsd {
  if (!Number.isSafeInteger(images) || images < 0) throw new RangeError('images is a whole number');
  return times(price.amountMicros, images);
}

/** Finds the price in force in `prices`, which are sorted with the newest first: the newest that has taken effect. */
export function findPriceInForce(prices: readonly Price[], nowMs: number): Price | null {
  return prices.find((price) => price.effectiveFromMs <= nowMs) ?? null;
}

/** Sorts the later price first; of two that take effect at the same time, the one with the higher version. */
export function compareNewestFirst(a: Price, b: Price): number {
  return b.effectiveFromMs - a.effectiveFromMs || b.version - a.version;
}

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
