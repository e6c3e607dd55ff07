import fc from 'fast-check';
import { micros } from '../../src/common/money.js';
import type { WalletCommand } from '../../src/wallets/rules/command.js';

/** One step of a random history: time passes, then a command arrives. */
export type Step = { readonly afterMs: number; readonly command: WalletCommand };

/** Few names and small amounts, so that histories collide: references repeat, holds are resolved twice. */
const slot = fc.integer({ min: 0, max: 7 });
const amount = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 60 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -5) },
);
const expiry = fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 4_000 }));

const START_MS = Date.parse('2026-01-01T00:00:00Z');

type Draw = {
  readonly kind: WalletCommand['type'];
  readonly slot: number;
  readonly other: number;
  readonly amount: number;
  readonly beside: number;
  readonly expiry: number | null;
  readonly variant: boolean;
  readonly afterMs: number;
};

const draw: fc.Arbitrary<Draw> = fc.record({
  kind: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom<WalletCommand['type']>(
        'credit',
        'grant',
        'authorize',
        'capture',
        'debit',
        'void',
      ),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom<WalletCommand['type']>(
        'clawBack',
        'adjust',
        'expireHold',
        'expireLots',
        'unfreeze',
      ),
    },
    { weight: 1, arbitrary: fc.constant<WalletCommand['type']>('freeze') },
  ),
  slot,
  other: slot,
  amount,
  beside: fc.integer({ min: 0, max: 3 }),
  expiry,
  variant: fc.boolean(),
  afterMs: fc.integer({ min: 0, max: 900 }),
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
  const beside = micros(BigInt(drawn.beside));
  const expiresAtMs = drawn.expiry === null ? null : nowMs + drawn.expiry;
  // The variant makes the same reference come with another body now and then.
  const named = (kind: string) => ({
    ...addressed,
    reference: `${kind}:${drawn.slot}`,
    fingerprint: drawn.variant ? 'a' : `${drawn.amount}`,
    memo: null,
  });
  const lotId = `lot_${drawn.kind}_${drawn.slot}`;
  const holdId = `hold_${drawn.slot}`;
  switch (drawn.kind) {
    case 'credit': {
      const cause =
        (['top_up', 'top_up', 'reinstatement', 'write_off'] as const)[drawn.other % 4] ?? 'top_up';
      return {
        ...named('credit'),
        type: 'credit',
        cause,
        lotId,
        amountMicros,
        feeMicros: beside,
        taxMicros: micros(0n),
        expiresAtMs: drawn.other > 5 ? expiresAtMs : null,
      };
    }
    case 'grant':
      return { ...named('grant'), type: 'grant', lotId, amountMicros, priority: drawn.beside, expiresAtMs };
    case 'authorize':
      return {
        ...named('authorize'),
        type: 'authorize',
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
      return { ...named('debit'), type: 'debit', amountMicros };
    case 'clawBack':
      return {
        ...named('clawBack'),
        type: 'clawBack',
        cause: drawn.other < 5 ? 'refund' : 'dispute',
        lotId: `lot_credit_${drawn.other}`,
        amountMicros,
        feeMicros: beside,
        taxMicros: micros(0n),
      };
    case 'expireLots':
      return { ...addressed, type: 'expireLots' };
    case 'adjust':
      return { ...named('adjust'), type: 'adjust', lotId, amountMicros: micros(BigInt(drawn.amount - 30)) };
    case 'freeze':
    case 'unfreeze':
      return { ...addressed, type: drawn.kind, reason: 'random', statusChangeId: `wsc_${index}` };
  }
}
