import fc from 'fast-check';
import { micros } from '../../../src/platform/common/money.js';
import type {
  NewFreeze,
  SetKeyBudgetCommand,
  WalletCommand,
} from '../../../src/money/wallets/rules/command.js';

/** One step of a random history: time passes, then a command arrives. */
export type Step = { readonly afterMs: number; readonly command: WalletCommand };

/** Few names and small amounts, so that histories collide: references repeat, holds are resolved twice. */
const slot = fc.integer({ min: 0, max: 7 });
const amount = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 60 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -5) },
);
const expiry = fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 4_000 }));

/** Before the end of a month, so that a jump crosses a day, or a month, or none. */
const START_MS = Date.parse('2026-01-30T23:59:58Z');

/** The keys that some spend with. The product's ids are as unique as the account that they are made from. */
export const SCRIPT_KEYS = ['key_a', 'key_b'] as const;

/** What a customer's wallet may be asked; the platform's book has its own command. */
type CustomerCommand = Exclude<WalletCommand, { type: 'book' }>;

type Draw = {
  readonly kind: CustomerCommand['type'];
  readonly slot: number;
  readonly other: number;
  readonly amount: number;
  readonly small: number;
  readonly expiry: number | null;
  readonly variant: boolean;
  readonly key: number;
  readonly afterMs: number;
};

const draw: fc.Arbitrary<Draw> = fc.record({
  kind: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom<CustomerCommand['type']>(
        'credit',
        'grant',
        'authorize',
        'capture',
        'debit',
        'void',
        'setKeyBudget',
      ),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom<CustomerCommand['type']>(
        'reverseCredit',
        'writeOff',
        'reinstate',
        'adjust',
        'expireHold',
        'expireLots',
        'unfreeze',
      ),
    },
    { weight: 1, arbitrary: fc.constant<CustomerCommand['type']>('freeze') },
  ),
  slot,
  other: slot,
  amount,
  small: fc.integer({ min: 0, max: 3 }),
  expiry,
  variant: fc.boolean(),
  key: fc.integer({ min: 0, max: 3 }),
  // Now and then hours or days pass: holds stay open across midnight, and across the end of a month.
  afterMs: fc.oneof(
    { weight: 12, arbitrary: fc.integer({ min: 0, max: 900 }) },
    { weight: 1, arbitrary: fc.integer({ min: 3_600_000, max: 40 * 3_600_000 }) },
    { weight: 1, arbitrary: fc.constant(20 * 86_400_000) },
  ),
});

/** Random histories of one account. */
export function walletScripts(accountId: string, maxLength: number): fc.Arbitrary<readonly Step[]> {
  return fc.array(draw, { minLength: 1, maxLength }).map((draws) => {
    let nowMs = START_MS;
    return draws.map((drawn, index) => {
      nowMs += drawn.afterMs;
      return { afterMs: drawn.afterMs, command: toCommand(accountId, drawn, nowMs, index) };
    });
  });
}

export const SCRIPT_START_MS = START_MS;

function toCommand(accountId: string, drawn: Draw, nowMs: number, index: number): WalletCommand {
  const addressed = { accountId, actor: 'system' };
  const amountMicros = micros(BigInt(drawn.amount));
  const small = micros(BigInt(drawn.small));
  const expiresAtMs = drawn.expiry === null ? null : nowMs + drawn.expiry;
  // The variant makes the same reference come with another body now and then.
  const named = (kind: string) => ({
    ...addressed,
    reference: `${kind}:${drawn.slot}`,
    fingerprint: drawn.variant ? 'a' : `${drawn.amount}`,
    memo: null,
  });
  const keyId = SCRIPT_KEYS[drawn.key] ?? null;
  const lotId = `lot_${drawn.kind}_${drawn.slot}`;
  const holdId = `hold_${drawn.slot}`;
  switch (drawn.kind) {
    case 'credit': {
      return {
        ...named('credit'),
        type: 'credit',
        cause: 'top_up',
        lotId,
        amountMicros,
        feeMicros: small,
        taxMicros: micros(0n),
        expiresAtMs: drawn.other > 5 ? expiresAtMs : null,
      };
    }
    case 'grant':
      return { ...named('grant'), type: 'grant', lotId, amountMicros, priority: drawn.small, expiresAtMs };
    case 'authorize':
      return {
        ...named('authorize'),
        type: 'authorize',
        keyId,
        holdId,
        amountMicros,
        expiresAtMs: nowMs + (drawn.expiry ?? 500),
      };
    case 'capture':
      return { ...addressed, type: 'capture', holdId, amountMicros, memo: null };
    case 'void':
    case 'expireHold':
      return { ...addressed, type: drawn.kind, holdId };
    case 'debit':
      return {
        ...named('debit'),
        type: 'debit',
        actor: keyId === null ? 'system' : `account_key:${keyId}`,
        keyId,
        amountMicros,
      };
    case 'reverseCredit':
      return {
        ...named('reverseCredit'),
        reference: ofDispute('reverseCredit', drawn.slot),
        type: 'reverseCredit',
        cause: drawn.other < 5 ? 'refund' : 'dispute',
        freeze:
          drawn.other < 4
            ? null
            : {
                ...freezeOf(drawn, index),
                source: drawn.other < 5 ? 'refund' : 'dispute',
                sourceId: `${drawn.slot}`,
              },
        lotId: `lot_credit_${drawn.other}`,
        amountMicros,
        feeMicros: small,
        taxMicros: micros(0n),
        // Now and then something is not beyond the payment any more.
        excessMicros: micros(drawn.variant ? 0n : drawn.small === 3 ? -1n : 2n),
      };
    case 'reinstate':
      return {
        ...named('reinstate'),
        reference: ofDispute('reinstate', drawn.slot),
        type: 'reinstate',
        lotId,
        givenLotId: `${lotId}_given`,
        amountMicros,
        feeMicros: small,
        taxMicros: micros(0n),
        excessMicros: micros(drawn.variant ? 0n : 2n),
      };
    case 'writeOff':
      return {
        ...addressed,
        type: 'writeOff',
        reference: ofDispute('writeOff', drawn.slot),
        memo: null,
      };
    case 'setKeyBudget':
      return {
        ...addressed,
        type: 'setKeyBudget',
        keyId: SCRIPT_KEYS[drawn.key % SCRIPT_KEYS.length] ?? '',
        limits: limitsOf(drawn),
        counted: null,
      };
    case 'expireLots':
      return { ...addressed, type: 'expireLots' };
    case 'adjust':
      return { ...named('adjust'), type: 'adjust', lotId, amountMicros: micros(BigInt(drawn.amount - 30)) };
    case 'freeze':
      return { ...addressed, type: 'freeze', freeze: freezeOf(drawn, index) };
    case 'unfreeze': {
      const { source, sourceId } = freezeOf(drawn, index);
      const lifts = drawn.variant ? {} : { source, sourceId };
      return { ...addressed, type: 'unfreeze', lifts, reason: 'random', statusChangeId: `wsc_${index}` };
    }
  }
}

/** Of one of two disputes, so that several movements and write-offs are of the same one. */
function ofDispute(kind: 'reverseCredit' | 'reinstate' | 'writeOff', slot: number): string {
  return `dispute:${slot % 2}:${kind}:${slot}`;
}

/** One of a few reasons, so that they meet again and are lifted one by one. */
function freezeOf({ slot, other }: Draw, index: number): NewFreeze {
  const source = (['operator', 'dispute', 'early_fraud_warning'] as const)[slot % 3] ?? 'operator';
  const sourceId = source === 'operator' ? '' : `${other % 2}`;
  return { id: `frz_${index}`, source, sourceId, reason: 'random', statusChangeId: `wsc_${index}` };
}

/** One limit or two that a few spends reach, and now and then none of that period, or none at all. */
function limitsOf({ slot, other, amount, variant }: Draw): SetKeyBudgetCommand['limits'] {
  const limit = other === 0 ? null : micros(BigInt(amount * 2));
  if (other === 1) return { day: null, month: null, total: null };
  const limits = [{ day: limit }, { month: limit }, { total: limit }][slot % 3] ?? {};
  return variant ? limits : { ...limits, day: micros(BigInt(amount)) };
}

/**
 * Histories of two keys on a wallet that has enough: nothing but their limits refuses them, every hold is its own,
 * and time jumps often.
 */
export function keyScripts(accountId: string, maxLength: number): fc.Arbitrary<readonly Step[]> {
  const turn = fc.tuple(
    fc.constantFrom<Draw['kind']>('authorize', 'authorize', 'debit', 'capture', 'void', 'setKeyBudget'),
    fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 0, max: 400 }) },
      { weight: 1, arbitrary: fc.integer({ min: 3_600_000, max: 30 * 3_600_000 }) },
      { weight: 1, arbitrary: fc.constant(20 * 86_400_000) },
    ),
    draw,
  );
  return fc.array(turn, { minLength: 1, maxLength }).map((turns) => {
    let nowMs = START_MS;
    const credit = { kind: 'grant', slot: 0, other: 0, amount: 1_000_000, small: 0, expiry: null } as const;
    const first = toCommand(accountId, { ...credit, variant: true, key: 3, afterMs: 0 }, nowMs, 0);
    const steps = turns.map(([kind, afterMs, drawn], index): Step => {
      nowMs += afterMs;
      const amount = Math.abs(drawn.amount) + 1;
      const command = toCommand(accountId, { ...drawn, kind, amount, key: drawn.key % 2 }, nowMs, index);
      if (command.type === 'setKeyBudget') return { afterMs, command };
      // Resolves one of the latest holds, so that some stay open for days.
      const holdId = `hold_${kind === 'authorize' ? index : Math.max(0, index - 1 - drawn.slot)}`;
      const own = 'reference' in command ? { reference: `${kind}:${index}` } : {};
      return { afterMs, command: { ...command, ...own, ...('holdId' in command ? { holdId } : {}) } };
    });
    return [{ afterMs: 0, command: first }, ...steps];
  });
}
