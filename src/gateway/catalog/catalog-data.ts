import type { TopUpSettings } from '../../platform/config/settings.js';
import { formatUsd } from '../../platform/common/money.js';
import type { Price } from '../../money/pricing/price.js';
import type { CatalogModel } from './catalog.js';
import type { Ranking } from './ranking/model-ranking.service.js';

/** A model with the price that a call is charged by now. */
export type PricedModel = CatalogModel & { readonly price: Price };

/** What the JSON routes answer from, read at one moment. */
export type CatalogData = {
  readonly version: number;
  readonly models: readonly PricedModel[];
  readonly ranking: Ranking;
  readonly topUp: TopUpSettings;
  /** Calls of free models that an account may make in a minute. */
  readonly freeCallsPerMinute: number;
  /** And images of them in a UTC day. */
  readonly freeImagesPerDay: number;
  readonly callsPerMinute: number;
};

export function isFree({ price }: PricedModel): boolean {
  return price.amountMicros === 0n;
}

export function priceText(model: PricedModel): string {
  return isFree(model) ? 'Free' : `${formatUsd(model.price.amountMicros)} per image`;
}

/** Ids are `maker/name`, of characters that a path may carry as they are. */
export function modelPath({ id }: { readonly id: string }): string {
  return `/models/${id.split('/').map(encodeURIComponent).join('/')}`;
}

export function findPriced(data: Pick<CatalogData, 'models'>, id: string): PricedModel | null {
  return data.models.find((model) => model.id === id) ?? null;
}
