/**
 * Stops calls to a provider that is failing, so that they continue with the next one at once instead of waiting. `closed`: every call
 * is sent. `open`: no call is sent. `half_open`: one call is sent as a probe.
 */
export type CircuitState = 'closed' | 'open' | 'half_open';

type Transition = { readonly from: readonly CircuitState[]; readonly to: CircuitState };

/** Every transition that a circuit can make. */
export const CIRCUIT_TRANSITIONS = {
  /** Too many failures in a row, or the probe failed. */
  open: { from: ['closed', 'half_open'], to: 'open' },
  /** The waiting time is over and one call probes the provider. Also from `half_open`, when the earlier probe has no outcome. */
  probe: { from: ['open', 'half_open'], to: 'half_open' },
  /** The probe ended without reaching the provider, so the next call is the probe. */
  withdraw: { from: ['half_open'], to: 'open' },
  /** The provider answered the probe. */
  close: { from: ['half_open'], to: 'closed' },
} as const satisfies Record<string, Transition>;

export type CircuitTransition = keyof typeof CIRCUIT_TRANSITIONS;

export type CircuitLimits = {
  /** This many consecutive failures open the circuit if they span `failingForMs`: failures at one moment are a single event. */
  readonly failuresMax: number;
  readonly failingForMs: number;
  /** How long it stays open the first time. The time doubles after each failed probe. */
  readonly openMs: number;
  readonly openMaxMs: number;
  /** A probe that has no outcome after this is replaced by another one. */
  readonly probeMs: number;
};

export type Circuit = {
  readonly state: CircuitState;
  /** The number of consecutive failures while closed. */
  readonly failures: number;
  /** When the first of them happened. */
  readonly failingSinceMs: number;
  /** How often it was opened since it was last closed. */
  readonly openings: number;
  /** When the next probe may be sent; 0 while closed. */
  readonly untilMs: number;
  /** Grows with every transition, so that outcomes of calls from before the transition are ignored. */
  readonly epoch: number;
};

/** What one call shows about the provider: it answers, it does not answer (or refuses us), or nothing. */
export type CircuitEvent = 'answered' | 'trouble' | 'nothing';

/** `permit` has to be passed to `settle`; null when the call must not be sent. */
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

/** Decides whether a call may be sent. Pure. */
export function admit(circuit: Circuit, nowMs: number, limits: CircuitLimits): Admission {
  if (circuit.state === 'closed') return { circuit, permit: circuit.epoch, retryAfterMs: 0 };
  const retryAfterMs = circuit.untilMs - nowMs;
  if (retryAfterMs > 0) return { circuit, permit: null, retryAfterMs };
  const probing = move(circuit, 'probe', { untilMs: nowMs + limits.probeMs });
  return { circuit: probing, permit: probing.epoch, retryAfterMs: 0 };
}

/** Applies the outcome of an admitted call. Outcomes of calls from before the last transition are ignored. Pure. */
export function settle(
  circuit: Circuit,
  permit: number,
  event: CircuitEvent,
  nowMs: number,
  limits: CircuitLimits,
): Circuit {
  if (permit !== circuit.epoch || circuit.state === 'open') return circuit;
  if (circuit.state === 'half_open') {
    if (event === 'answered') return move(circuit, 'close', { failures: 0, openings: 0, untilMs: 0 });
    if (event === 'nothing') return move(circuit, 'withdraw', { untilMs: nowMs });
    return trip(circuit, nowMs, limits);
  }
  if (event === 'nothing') return circuit;
  if (event === 'answered') return circuit.failures === 0 ? circuit : { ...circuit, failures: 0 };
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

/** Throws when the table does not allow the transition, which would be a bug in this file. */
function move(circuit: Circuit, transition: CircuitTransition, change: Partial<Circuit>): Circuit {
  const { from, to }: Transition = CIRCUIT_TRANSITIONS[transition];
  if (!from.includes(circuit.state)) throw new Error(`no ${transition} from ${circuit.state}`);
  return { ...circuit, ...change, state: to, epoch: circuit.epoch + 1 };
}
