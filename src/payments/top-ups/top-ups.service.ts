import { Injectable } from '@nestjs/common';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';

/** Reads an account's top-ups. */
@Injectable()
export class TopUpsService {
  constructor(private readonly topUps: TopUpRepository) {}

  /** Newest first. Throws `InvalidRequestError` for a cursor that is no top-up's id. */
  list(accountId: string, page: PageRequest): Promise<Page<TopUp>> {
    return this.topUps.page(accountId, page);
  }

  /** Throws `ResourceMissingError` for what is not this account's. */
  async require(accountId: string, id: string): Promise<TopUp> {
    const topUp = await this.topUps.find(accountId, id);
    if (topUp === null) throw new ResourceMissingError('top-up', id);
    return topUp;
  }
}
