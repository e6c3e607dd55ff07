import type { TopUpSettings } from '../../platform/config/settings.js';
import { formatUsd } from '../../platform/common/money.js';
import type { Price } from '../../money/pricing/price.js';
import type { CatalogModel } from './catalog.js';
import type { Ranking } from './ranking/model-ranking.service.js';

/** A model with its current price. */
export type PricedModel = CatalogModel & { readonly price: Price };

/** The data of the public pages and JSON routes, read at one moment. */
export type CatalogData = {
  readonly version: number;
  readonly models: readonly PricedModel[];
  readonly ranking: Ranking;
  readonly topUp: TopUpSettings;
  /** How many calls of free models an account may make in a minute. */
  readonly freeCallsPerMinute: number;
  /** How many images of free models an account may make in a UTC day. */
  readonly freeImagesPerDay: number;
  readonly callsPerMinute: number;
};

export function isFree({ price }: PricedModel): boolean {
  return price.amountMicros === 0n;
}

export function priceText(model: PricedModel): string {
  return isFree(model) ? 'Free' : `${formatUsd(model.price.amountMicros)} per image`;
}

/** Ids are `maker/name` and only have characters that need no escaping in a path. */
export function modelPath({ id }: { readonly id: string }): string {
  return `/models/${id.split('/').map(encodeURIComponent).join('/')}`;
}

export function findPriced(data: Pick<CatalogData, 'models'>, id: string): PricedModel | null {
  return data.models.find((model) => model.id === id) ?? null;
}
