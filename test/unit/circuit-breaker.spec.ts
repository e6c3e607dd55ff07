import { describe, expect, it } from '@jest/globals';
import {
  admit,
  CIRCUIT_TRANSITIONS,
  CLOSED_CIRCUIT,
  settle,
  type Circuit,
  type CircuitEvent,
  type CircuitState,
} from '../../src/gateway/images/providers/circuit-breaker.machine.js';
import { FALLS_THROUGH } from '../../src/gateway/images/providers/provider-failure.js';

const LIMITS = { failuresMax: 3, failingForMs: 100, openMs: 1_000, openMaxMs: 3_000, probeMs: 500 };
const EVENTS: readonly CircuitEvent[] = ['answered', 'trouble', 'nothing'];

const CLOSED: Circuit = { ...CLOSED_CIRCUIT, failures: 2, failingSinceMs: 0, epoch: 7 };
const OPEN: Circuit = { ...CLOSED_CIRCUIT, state: 'open', openings: 1, untilMs: 1_000, epoch: 7 };
const PROBING: Circuit = { ...OPEN, state: 'half_open' };

describe('a circuit breaker', () => {
  it.each<[string, Circuit, number, boolean, CircuitState]>([
    ['lets every call go while it is closed', CLOSED, 0, true, 'closed'],
    ['lets none go while it is open', OPEN, 999, false, 'open'],
    ['lets one go when its time is over', OPEN, 1_000, true, 'half_open'],
    ['lets no second one go while the probe runs', PROBING, 999, false, 'half_open'],
    ['lets another one go for a probe that never came back', PROBING, 1_000, true, 'half_open'],
  ])('%s', (_what, circuit, nowMs, goes, state) => {
    const admission = admit(circuit, nowMs, LIMITS);
    expect(admission.permit !== null).toBe(goes);
    expect(admission.circuit.state).toBe(state);
    expect(admission.retryAfterMs > 0).toBe(!goes);
  });

  it.each<[Circuit, CircuitEvent, number, Partial<Circuit>]>([
    [CLOSED, 'answered', 200, { state: 'closed', failures: 0 }],
    [CLOSED, 'nothing', 200, { state: 'closed', failures: 2 }],
    [CLOSED, 'trouble', 99, { state: 'closed', failures: 3 }],
    [CLOSED, 'trouble', 100, { state: 'open', untilMs: 1_100, openings: 1 }],
    [{ ...CLOSED, failures: 1 }, 'trouble', 100, { state: 'closed', failures: 2 }],
    [PROBING, 'answered', 200, { state: 'closed', failures: 0, openings: 0 }],
    [PROBING, 'nothing', 200, { state: 'open', untilMs: 200, openings: 1 }],
    [PROBING, 'trouble', 200, { state: 'open', untilMs: 2_200, openings: 2 }],
    [{ ...PROBING, openings: 9 }, 'trouble', 200, { state: 'open', untilMs: 3_200 }],
    [OPEN, 'answered', 200, OPEN],
    [OPEN, 'trouble', 200, OPEN],
    [OPEN, 'nothing', 200, OPEN],
  ])('moves as its table says: %j, %s', (circuit, event, nowMs, expected) => {
    expect(settle(circuit, circuit.epoch, event, nowMs, LIMITS)).toMatchObject(expected);
  });

  it('is not moved by the outcome of a call from before its last transition', () => {
    for (const circuit of [CLOSED, OPEN, PROBING]) {
      for (const event of EVENTS) expect(settle(circuit, 6, event, 5_000, LIMITS)).toBe(circuit);
    }
  });

  it('makes no transition that is not in the table, whatever happens in whatever order', () => {
    const allowed = new Set(
      Object.values(CIRCUIT_TRANSITIONS).flatMap(({ from, to }) => from.map((state) => `${state} ${to}`)),
    );
    const seen = new Set<string>();
    let circuits: Circuit[] = [CLOSED_CIRCUIT];
    for (let step = 1; step <= 6; step += 1) {
      const nowMs = step * 600;
      circuits = circuits.flatMap((circuit) => {
        const { circuit: entered, permit } = admit(circuit, nowMs, LIMITS);
        const next =
          permit === null ? [entered] : EVENTS.map((event) => settle(entered, permit, event, nowMs, LIMITS));
        for (const [a, b] of [[circuit, entered], ...next.map((after) => [entered, after])]) {
          if (a !== undefined && b !== undefined && a.epoch !== b.epoch) seen.add(`${a.state} ${b.state}`);
        }
        return next;
      });
    }
    expect([...seen].filter((move) => !allowed.has(move))).toEqual([]);
    expect([...seen].sort()).toEqual(['closed open', 'half_open closed', 'half_open open', 'open half_open']);
  });

  it('is about failures after which another provider is asked: the customer never waits for it in vain', () => {
    expect(FALLS_THROUGH.unavailable && FALLS_THROUGH.account).toBe(true);
    expect(FALLS_THROUGH.lost || FALLS_THROUGH.rejected || FALLS_THROUGH.moderated).toBe(false);
  });
});
