/**
 * What the upstream charges, in thousandths of its credits (1 credit is 1 US cent): 1.5 for the first
 * megapixel, 0.2 for each further one, 0.2 for each megapixel of reference images. Integers, because a
 * price is money; `toCredits` makes the wire's decimal number.
 */
const FIRST_MEGAPIXEL_MILLICREDITS = 1_500;
const FURTHER_MEGAPIXEL_MILLICREDITS = 200;
const INPUT_MEGAPIXEL_MILLICREDITS = 200;

/** Black Forest Labs does not say how it rounds; 1024 x 1024 costs the price of exactly one megapixel. */
const MEGAPIXEL = 1_048_576;

export function priceMillicredits(outputPixels: number, inputPixels: number): number {
  const further = Math.max(0, Math.ceil(outputPixels / MEGAPIXEL) - 1);
  const inputs = Math.ceil(inputPixels / MEGAPIXEL);
  return (
    FIRST_MEGAPIXEL_MILLICREDITS +
    further * FURTHER_MEGAPIXEL_MILLICREDITS +
    inputs * INPUT_MEGAPIXEL_MILLICREDITS
  );
}

/** 1700 becomes 1.7: the nearest double to the exact decimal, which prints as that decimal. */
export function toCredits(millicredits: number): number {
  return Number(`${millicredits}e-3`);
}

/** The wire's `input_mp` and `output_mp`: millions of pixels with two decimals. */
export function toMegapixels(pixels: number): number {
  return Math.round(pixels / 10_000) / 100;
}
