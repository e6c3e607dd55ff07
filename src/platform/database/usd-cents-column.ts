import { cents, type UsdCents } from '../common/money.js';

/** The driver represents BIGINT as a decimal string. */
export const usdCentsColumn = {
  to: (value: UsdCents): string => value.toString(),
  from: (value: string): UsdCents => cents(BigInt(value)),
};
