/**
 * Where a batch found the rows that it locked: their `ctid`. Nothing moves them before the batch ends. A row's new version
 * is written by the holder of the wallet's lock alone, and what rewrites a whole table waits for every tx that has read
 * it. So the batch updates them by their place and spares the server to look each of them up once more.
 */
export class Places {
  private readonly wallets = new Map<string, string>();
  private readonly lots = new Map<string, string>();

  addWallet(accountId: string, place: string): void {
    this.wallets.set(accountId, place);
  }

  addLot(accountId: string, id: string, place: string): void {
    this.lots.set(lotKey(accountId, id), place);
  }

  ofWallet(accountId: string): string {
    return found(this.wallets.get(accountId), accountId);
  }

  ofLot(accountId: string, id: string): string {
    return found(this.lots.get(lotKey(accountId, id)), id);
  }
}

/** Account ids hold no newline, so the joined key is unambiguous. */
const lotKey = (accountId: string, id: string): string => `${accountId}\n${id}`;

function found(place: string | undefined, id: string): string {
  if (place === undefined) throw new Error(`${id} is changed, but was not loaded`);
  return place;
}
