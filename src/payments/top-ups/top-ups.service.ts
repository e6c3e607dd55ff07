import { Injectable } from '@nestjs/common';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

/** Reads an account's top-ups. */
@Injectable()
export class TopUpsService {
  constructor(private readonly topUps: TopUpRepository) {}

  /** Lists top-ups, newest first. Throws `InvalidRequestError` for a cursor that is not a top-up's id. */
  list(accountId: string, page: PageRequest): Promise<Page<TopUp>> {
    return this.topUps.page(accountId, page);
  }

  /** Throws `ResourceMissingError` unless the top-up belongs to this account. */
  async require(accountId: string, id: string): Promise<TopUp> {
    const topUp = await this.topUps.find(accountId, id);
    if (topUp === null) throw new ResourceMissingError('top-up', id);
    return topUp;
  }
}
