import type { ValueTransformer } from 'typeorm';
import { cents, micros, type MicroUsd, type UsdCents } from '../common/money.js';

/** The driver represents BIGINT as a decimal string; a JavaScript number would lose cents of large amounts. */
export const microUsdColumn: ValueTransformer = {
  to: (value: MicroUsd | null | undefined) => value?.toString() ?? value,
  from: (value: string | null) => (value === null ? null : micros(BigInt(value))),
};

/** The driver represents BIGINT as a decimal string. */
export const usdCentsColumn = {
  to: (value: UsdCents): string => value.toString(),
  from: (value: string): UsdCents => cents(BigInt(value)),
};
