import { Inject, Injectable } from '@nestjs/common';
import { micros, times, type MicroUsd } from '../../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { PriceBookService } from '../../../money/pricing/price-book.service.js';
import { SpendingCheckService } from '../../../money/wallets/spending-check.service.js';
import { topUpUrlFrom, toProblem, withoutCharge } from '../calls/generation.errors.js';
import { type Caller, isPerhapsRepeated } from '../calls/caller.js';
import { ModelCatalogService } from '../../catalog/model-catalog.service.js';
import { getImageModels, type ImageModel } from '../calls/image-request.js';
import { ProviderKeyFundingService } from '../calls/funding/provider-key-funding.service.js';
import { GenerationReaderService } from '../calls/records/generation-reader.service.js';
import type { EditDraft } from './edit-request.js';

/**
 * Accounts without credit may still edit with a free model, or repeat a call that was paid before. Together they share the memory
 * and time of one account, so that any number of them uses no more than one paying account.
 */
const WITHOUT_CREDIT = 'accounts without credit';

/** The smallest amount that the ledger can charge. */
const ANY_CREDIT: MicroUsd = micros(1n);

/**
 * Checks the credit before an edit costs us memory and time, because its body is read and its images are fetched and decoded before
 * the hold. The check takes no lock and is not final: a call that passes it may still be refused by the hold. It refuses no call that
 * the hold would accept at that moment, nor one that costs the wallet nothing: free models, BYOK calls and repeated calls.
 */
@Injectable()
export class EditCreditService {
  private readonly topUpUrl: string;

  constructor(
    @Inject(SETTINGS) settings: Settings,
    private readonly catalog: ModelCatalogService,
    private readonly prices: PriceBookService,
    private readonly providerKeys: ProviderKeyFundingService,
    private readonly reader: GenerationReaderService,
    private readonly spending: SpendingCheckService,
  ) {
    this.topUpUrl = topUpUrlFrom(settings);
  }

  /**
   * Returns whose share of memory and time the edit uses, before any byte of its body is read. The model is not known yet, so a
   * caller is refused (402) only if it can pay for none of the models that edit and none of them is free.
   */
  async findShareOwner(caller: Caller): Promise<string> {
    const { accountId, keyId } = caller.principal;
    return this.explaining(async () => {
      const obstacle = await this.spending.findObstacle(accountId, keyId, ANY_CREDIT);
      if (obstacle === null) return accountId;
      const inForce = getImageModels(await this.catalog.current());
      const models = inForce.list().filter(({ referencesMax }) => referencesMax > 0);
      const ownKeys = await Promise.all(models.map((model) => this.providerKeys.find({ model }, caller)));
      if (ownKeys.some((ownKey) => ownKey !== null)) return accountId;
      const pricesMicros = await Promise.all(models.map((model) => this.findPrice(model)));
      const isPayable = pricesMicros.some((priceMicros) => priceMicros === 0n);
      if (!isPayable && !(await this.mayBeRepeated(caller))) throw obstacle;
      return WITHOUT_CREDIT;
    });
  }

  /** Runs when the parameters are known, before an image is fetched or decoded. Throws what the hold would throw (402). */
  async require({ model, images }: EditDraft, caller: Caller): Promise<void> {
    const { accountId, keyId } = caller.principal;
    await this.explaining(async () => {
      const priceMicros = await this.findPrice(model);
      if (priceMicros === 0n) return;
      const obstacle = await this.spending.findObstacle(accountId, keyId, times(priceMicros, images));
      if (obstacle === null || (await this.providerKeys.find({ model }, caller)) !== null) return;
      if (!(await this.mayBeRepeated(caller))) throw obstacle;
    });
  }

  private async findPrice({ id }: ImageModel): Promise<MicroUsd> {
    const price = await this.prices.requirePrice(id);
    return price.amountMicros;
  }

  /** Whether this may be a repeated call, whose credit was spent or set aside by the call that it repeats. */
  private async mayBeRepeated(caller: Caller): Promise<boolean> {
    const { principal, idempotencyKey } = caller;
    if (idempotencyKey === null) return isPerhapsRepeated(caller);
    return (await this.reader.findByIdempotencyKey(principal.accountId, idempotencyKey)) !== null;
  }

  /** Adds to every refusal that nothing was charged and where to top up. */
  private async explaining<T>(check: () => Promise<T>): Promise<T> {
    try {
      return await check();
    } catch (error) {
      throw withoutCharge(toProblem(error), { topUpUrl: this.topUpUrl });
    }
  }
}
