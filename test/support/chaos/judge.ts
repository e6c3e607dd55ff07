import type { ChaosAccount } from './cast.js';
import { endName, itemName } from './clients.js';
import type { BookedHold, BookedImage, ChaosBooks, Movement } from './books.js';
import { acknowledged, isDecision, type Journal, type Reply } from './journal.js';
import { LIMITED_KEY, type Operation, type OperationOf } from './plan.js';

const IMAGE_MICROS = 40_000n;
/** They say how the wallet is now, or what became of the hold since. */
const CHANGING = [
  'replayed',
  'available_micros',
  'held_micros',
  'posted_micros',
  'status',
  'captured_micros',
  'paid_at',
];

/** Holds what the clients read against what the ledger says, and finds nothing when every promise was kept. */
export class ChaosJudge {
  readonly faults: string[] = [];
  private readonly movements: ReadonlyMap<string, Movement>;
  private readonly holds: ReadonlyMap<string, BookedHold>;
  private readonly images = new Map<string, BookedImage[]>();
  private readonly expected = new Set<string>();

  constructor(
    private readonly cast: readonly ChaosAccount[],
    private readonly journal: Journal,
    private readonly books: ChaosBooks,
  ) {
    this.movements = new Map(books.movements.map((row) => [`${row.account} ${row.reference}`, row]));
    this.holds = new Map(books.holds.map((row) => [`${row.account} ${row.reference}`, row]));
    for (const image of books.images)
      this.images.set(image.tag, [...(this.images.get(image.tag) ?? []), image]);
  }

  judge(plan: readonly Operation[]): readonly string[] {
    for (const operation of plan) this.judgeOperation(operation);
    this.judgeUnasked();
    for (const wallet of this.books.wallets) {
      const { account, posted, held, debt, status, lowest, credited, charged } = wallet;
      const isSound = BigInt(lowest) >= 0n && BigInt(posted) >= 0n && BigInt(charged) <= BigInt(credited);
      if (!isSound || held !== '0' || debt !== '0' || status !== 'active')
        this.faults.push(`wallet ${account}: ${JSON.stringify(wallet)}`);
    }
    this.cast.forEach((account) => this.judgeLimit(account));
    return [...this.journal.faults, ...this.faults];
  }

  private judgeOperation(operation: Operation): void {
    const { name, account } = operation;
    switch (operation.kind) {
      case 'debit':
        return this.judgePosted(name, account, `debit:${name}`, -operation.amountMicros);
      case 'batch':
        return operation.debits.forEach((debit, index) => {
          const item = itemName(operation, index);
          this.judgePosted(item, debit.account, `debit:${item}`, -debit.amountMicros);
        });
      case 'grant':
      case 'adjustment':
        return this.judgePosted(name, account, `${operation.kind}:${name}`, operation.amountMicros);
      case 'top_up':
        return this.judgeTopUp(operation);
      case 'hold':
        return this.judgeHold(operation);
      case 'keyed_image':
      case 'retried_image':
        return this.judgeImage(operation);
      case 'freeze':
      case 'budget':
        return;
    }
  }

  /** Acknowledged: there, once, with that amount and under the id that all copies name. Never acknowledged: not there. */
  private judgePosted(name: string, account: number, reference: string, micros: number): void {
    const row = this.movement(account, reference);
    const answers = this.copiesOf(name);
    if (answers.length === 0) {
      if (row !== undefined) this.fault(name, `refused, and in the ledger with ${row.micros}`);
      return;
    }
    if (row === undefined) return this.fault(name, 'acknowledged, and not in the ledger');
    if (row.micros !== String(micros))
      this.fault(name, `in the ledger with ${row.micros} instead of ${micros}`);
    if (answers[0]?.body.id !== row.id)
      this.fault(name, `answered as ${answers[0]?.body.id}, which is ${row.id}`);
  }

  private judgeTopUp({ name, account, creditCents }: OperationOf<'top_up'>): void {
    const [answer] = this.copiesOf(name);
    if (answer === undefined) return this.fault(name, 'never begun');
    const row = this.movement(account, `top_up:${answer.body.id}`);
    if (row?.micros !== String(creditCents * 10_000)) this.fault(name, `paid, and credited ${row?.micros}`);
  }

  private judgeHold(operation: OperationOf<'hold'>): void {
    const { name, account } = operation;
    const answers = this.copiesOf(name);
    this.expect(account, `hold:${name}`);
    const hold = this.holds.get(`${this.cast[account]?.id} hold:${name}`);
    if (answers.length === 0) {
      if (hold !== undefined) this.fault(name, 'refused, and held');
      return;
    }
    if (hold === undefined) return this.fault(name, 'acknowledged, and not there');
    if (answers[0]?.body.id !== hold.id) this.fault(name, 'answered with the id of another hold');
    const state = hold.status === 'captured' ? `captured ${hold.captured}` : hold.status;
    const captured = this.movement(account, `capture:${hold.id}`)?.micros;
    if (captured !== (hold.status === 'captured' ? `-${hold.captured}` : undefined))
      this.fault(name, `${state}, and in the ledger ${captured}`);
    const ends = this.journal.entry(endName(operation));
    for (const { body } of acknowledged(ends)) {
      if (body.asked !== state) this.fault(name, `acknowledged as ${body.asked}, and ${state}`);
    }
    if (!ends.replies.some(isDecision) || !/^(captured|voided)/.test(state))
      this.fault(name, `left ${state}`);
  }

  /** One receipt is charged at most, and it is that of the answers; what was delivered is what was charged. */
  private judgeImage(operation: OperationOf<'keyed_image' | 'retried_image'>): void {
    const { name } = operation;
    const receipts = this.images.get(name) ?? [];
    const charged = receipts.filter(({ captured, charged: said }) => captured !== '0' || said !== '0');
    if (charged.length > 1)
      return this.fault(name, `charged ${charged.length} times: ${JSON.stringify(charged)}`);
    const answers = acknowledged(this.journal.entry(name));
    const [receipt] = charged;
    if (answers.length === 0) {
      const isKnown = isDecision(this.journal.entry(name).replies.at(-1) ?? null);
      if (receipt !== undefined && isKnown) this.fault(name, `failed, and charged ${receipt.captured}`);
      return;
    }
    if (new Set(answers.map(({ text }) => text)).size > 1)
      this.fault(name, 'copies were answered differently');
    for (const { body, generationId, chargedMicros } of answers) {
      const delivered = String(BigInt(body.data.length) * IMAGE_MICROS);
      const answered = `${generationId} ${delivered} ${chargedMicros}`;
      const booked = `${receipt?.id} ${receipt?.captured} ${receipt?.charged}`;
      if (answered !== booked) this.fault(name, `answered ${answered}, and booked ${booked}`);
    }
  }

  /** Every charge, grant, correction and credit is one that was asked for. */
  private judgeUnasked(): void {
    const generations = new Map(this.books.images.map(({ id, tag }) => [`generation:${id}`, tag]));
    const holds = new Map(this.books.holds.map(({ id, reference }) => [`capture:${id}`, reference]));
    for (const { account, kind, reference } of this.books.movements) {
      const of = kind === 'capture' ? (holds.get(reference) ?? '') : reference;
      const isAsked = generations.has(of) || this.expected.has(`${account} ${of}`);
      // The first credit of each account came without a key.
      const isFirst = kind === 'grant' && !reference.includes('grant-');
      if (!isAsked && !isFirst && !kind.startsWith('top_up'))
        this.fault(reference, `never asked for (${kind})`);
    }
  }

  private judgeLimit({ id, keys }: ChaosAccount): void {
    const key = keys[LIMITED_KEY];
    const used = this.books.holds
      .filter(({ account, keyId }) => account === id && keyId === key?.id)
      .reduce((sum, { captured }) => sum + BigInt(captured), 0n);
    if (used > BigInt(key?.limitMicros ?? 0))
      this.fault(`key ${key?.id}`, `used ${used} of ${key?.limitMicros}`);
  }

  /** The acknowledged copies of one request, which say the same and of which one at most was the first. */
  private copiesOf(name: string): Reply[] {
    const answers = acknowledged(this.journal.entry(name));
    const lasting = new Set(answers.map(({ body }) => lastingPart(body)));
    if (lasting.size > 1) this.fault(name, `copies were answered differently: ${[...lasting].join(' and ')}`);
    const first = answers.filter(({ body }) => body.replayed === false);
    if (first.length > 1) this.fault(name, `done ${first.length} times`);
    return answers;
  }

  private movement(account: number, reference: string): Movement | undefined {
    this.expect(account, reference);
    return this.movements.get(`${this.cast[account]?.id} ${reference}`);
  }

  private expect(account: number, reference: string): void {
    this.expected.add(`${this.cast[account]?.id} ${reference}`);
  }

  private fault(name: string, what: string): void {
    // What happened to an item happened to its batch.
    const { history } = this.journal.entry(name.replace(/\.\d+$/, ''));
    this.faults.push(`${name}: ${what} (${history.join('; ')})`);
  }
}

function lastingPart(body: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(Object.entries(body).filter(([member]) => !CHANGING.includes(member)));
}
