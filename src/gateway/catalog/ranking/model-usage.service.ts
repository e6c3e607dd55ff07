import { Injectable } from '@nestjs/common';
import type { Tx } from '../../../platform/database/transaction-runner.js';

/** Images of one model, delivered in one hour (UTC), over all customers. */
export type HourOfModel = { readonly hour: Date; readonly model: string; readonly images: bigint };

const ADD = `
  INSERT INTO model_usage AS m (hour, model, images)
  SELECT hour, model, images FROM unnest($1::timestamptz[], $2::text[], $3::bigint[]) AS n (hour, model, images)
   ORDER BY hour, model
  ON CONFLICT ON CONSTRAINT model_usage_pkey DO UPDATE SET images = m.images + excluded.images`;

/** The numbers that the ranking adds up, so that no page view looks through generations. No customer stands in them. */
@Injectable()
export class ModelUsage {
  /** Added in the tx of whoever counted them, so that what is counted once is added once. */
  async add(tx: Tx, hours: readonly HourOfModel[]): Promise<void> {
    if (hours.length === 0) return;
    await tx.query(ADD, [
      hours.map(({ hour }) => hour.toISOString()),
      hours.map(({ model }) => model),
      hours.map(({ images }) => images.toString()),
    ]);
  }
}
