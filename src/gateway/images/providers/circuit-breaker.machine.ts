/**
 * Keeps calls away from a provider that does not work, so that they go on to the next one at once instead of
 * waiting for it. closed: every call goes. open: none does. half_open: one goes, to see.
 */
export type CircuitState = 'closed' | 'open' | 'half_open';

type Transition = { readonly from: readonly CircuitState[]; readonly to: CircuitState };

/** Every transition that a circuit can make. */
export const CIRCUIT_TRANSITIONS = {
  /** Too many failures in a row, or the probe failed. */
  open: { from: ['closed', 'half_open'], to: 'open' },
  /** The time is over: one call goes. Again from `half_open` when the earlier probe never came back. */
  probe: { from: ['open', 'half_open'], to: 'half_open' },
  /** The probe learned nothing: the next call is the probe. */
  withdraw: { from: ['half_open'], to: 'open' },
  /** The provider answered the probe. */
  close: { from: ['half_open'], to: 'closed' },
} as const satisfies Record<string, Transition>;

export type CircuitTransition = keyof typeof CIRCUIT_TRANSITIONS;

export type CircuitLimits = {
  /** Failures in a row that open it, once they have lasted so long: what fails at one moment is one event. */
  readonly failuresMax: number;
  readonly failingForMs: number;
  /** How long it stays open the first time; twice as long each time that a probe fails. */
  readonly openMs: number;
  readonly openMaxMs: number;
  /** A probe without an outcome by then is given up for another. */
  readonly probeMs: number;
};

export type Circuit = {
  readonly state: CircuitState;
  /** In a row, while closed. */
  readonly failures: number;
  /** When the first of them came. */
  readonly failingSinceMs: number;
  /** In a row, since it was closed last. */
  readonly openings: number;
  /** When the next probe may go; 0 while closed. */
  readonly untilMs: number;
  /** Grows with every transition, so that news of a call from before it changes nothing. */
  readonly epoch: number;
};

/** What one call tells of the provider: that it answers, that it does not (or refuses us), or nothing at all. */
export type CircuitEvent = 'answered' | 'trouble' | 'nothing';

/** `permit` is what `settle` wants to see again; null: the call must not go. */
export type Admission = {
  readonly circuit: Circuit;
  readonly permit: number | null;
  readonly retryAfterMs: number;
};

export const CLOSED_CIRCUIT: Circuit = {
  state: 'closed',
  failures: 0,
  failingSinceMs: 0,
  openings: 0,
  untilMs: 0,
  epoch: 0,
};

/** Whether a call may go. Pure. */
export function admit(circuit: Circuit, nowMs: number, limits: CircuitLimits): Admission {
  if (circuit.state === 'closed') return { circuit, permit: circuit.epoch, retryAfterMs: 0 };
  const retryAfterMs = circuit.untilMs - nowMs;
  if (retryAfterMs > 0) return { circuit, permit: null, retryAfterMs };
  const probing = move(circuit, 'probe', { untilMs: nowMs + limits.probeMs });
  return { circuit: probing, permit: probing.epoch, retryAfterMs: 0 };
}

/** What a call that was let through has learned. Pure; news from before the last transition is ignored. */
export function settle(
  circuit: Circuit,
  permit: number,
  news: CircuitEvent,
  nowMs: number,
  limits: CircuitLimits,
): Circuit {
  if (permit !== circuit.epoch || circuit.state === 'open') return circuit;
  if (circuit.state === 'half_open') {
    if (news === 'answered') return move(circuit, 'close', { failures: 0, openings: 0, untilMs: 0 });
    if (news === 'nothing') return move(circuit, 'withdraw', { untilMs: nowMs });
    return trip(circuit, nowMs, limits);
  }
  if (news === 'nothing') return circuit;
  if (news === 'answered') return circuit.failures === 0 ? circuit : { ...circuit, failures: 0 };
  const failures = circuit.failures + 1;
  const failingSinceMs = failures === 1 ? nowMs : circuit.failingSinceMs;
  const isDown = failures >= limits.failuresMax && nowMs - failingSinceMs >= limits.failingForMs;
  return isDown ? trip(circuit, nowMs, limits) : { ...circuit, failures, failingSinceMs };
}

function trip(circuit: Circuit, nowMs: number, { openMs, openMaxMs }: CircuitLimits): Circuit {
  const waitMs = Math.min(openMs * 2 ** circuit.openings, openMaxMs);
  const openings = circuit.openings + 1;
  return move(circuit, 'open', { failures: 0, openings, untilMs: nowMs + waitMs });
}

/** Throws when the table does not allow it: a fault in this file. */
function move(circuit: Circuit, transition: CircuitTransition, change: Partial<Circuit>): Circuit {
  const { from, to }: Transition = CIRCUIT_TRANSITIONS[transition];
  if (!from.includes(circuit.state)) throw new Error(`no ${transition} from ${circuit.state}`);
  return { ...circuit, ...change, state: to, epoch: circuit.epoch + 1 };
}
