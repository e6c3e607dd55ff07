import { Injectable } from '@nestjs/common';
import type { Tx } from '../../../platform/database/transaction-runner.js';

/** The images of one model that were delivered to all customers in one hour (UTC). */
export type HourOfModel = { readonly hour: Date; readonly model: string; readonly images: bigint };

const ADD = `
  INSERT INTO model_usage AS m (hour, model, images)
  SELECT hour, model, images FROM unnest($1::timestamptz[], $2::text[], $3::bigint[]) AS n (hour, model, images)
   ORDER BY hour, model
  ON CONFLICT ON CONSTRAINT model_usage_pkey DO UPDATE SET images = m.images + excluded.images`;

/** Counts images for the ranking, so that no page view has to read generations. The counts contain no customer. */
@Injectable()
export class ModelUsageService {
  /** Adds counts in the tx of the caller, so that each image is counted exactly once. */
  async add(tx: Tx, hours: readonly HourOfModel[]): Promise<void> {
    if (hours.length === 0) return;
    await tx.query(ADD, [
      hours.map(({ hour }) => hour.toISOString()),
      hours.map(({ model }) => model),
      hours.map(({ images }) => images.toString()),
    ]);
  }
}
