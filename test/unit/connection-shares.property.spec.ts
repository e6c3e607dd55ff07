import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ConnectionShares, UNUSED_MS, type SharedConnection } from '../../src/platform/http/connections.js';
import { checkProperty } from '../support/property.js';

const OWNERS = 4;
/** Only the first owner is trusted. */
const TRUSTED = 0;

type Opened = {
  readonly owner: number;
  readonly openedAtMs: number;
  requests: number;
  isUnused: boolean;
  connection?: SharedConnection<Opened>;
};

type Step = {
  readonly what: 'open' | 'begin' | 'end' | 'close' | 'wait';
  readonly owner: number;
  readonly pick: number;
};

const steps = fc.array(
  fc.record<Step>({
    what: fc.constantFrom('open', 'open', 'open', 'begin', 'begin', 'end', 'close', 'wait'),
    owner: fc.nat(OWNERS - 1),
    pick: fc.nat(100),
  }),
  // By itself fast-check makes short ones only, which fill nothing.
  { maxLength: 200, size: 'max' },
);

/** What is open, by what the shares answered. The longest idle come first. */
class Peers {
  private readonly open: Opened[] = [];
  private readonly shares: ConnectionShares<Opened>;
  private nowMs = 0;

  constructor(private readonly max: number) {
    this.shares = new ConnectionShares(max);
  }

  take({ what, owner, pick }: Step): void {
    if (what === 'open') return this.admit(owner);
    if (what === 'wait') this.nowMs += UNUSED_MS / 2;
    const picked = this.open[pick % Math.max(this.open.length, 1)];
    if (picked?.connection === undefined) return;
    if (what === 'begin') {
      picked.requests += 1;
      picked.isUnused = false;
      this.shares.requestBegins(picked.connection);
    } else if (what === 'end' && picked.requests > 0) {
      picked.requests -= 1;
      this.shares.requestEnds(picked.connection);
      if (picked.requests === 0) this.open.push(...this.open.splice(this.open.indexOf(picked), 1));
    } else if (what === 'close') {
      this.remove(picked);
      this.shares.close(picked.connection);
      this.shares.close(picked.connection);
    }
  }

  private admit(owner: number): void {
    const opened: Opened = { owner, openedAtMs: this.nowMs, requests: 0, isUnused: true };
    const name = String(owner);
    const { connection, displaced } = this.shares.admit(
      opened,
      { name, isTrusted: owner === TRUSTED },
      this.nowMs,
    );
    for (const lost of displaced) {
      expect(this.weightOf(owner)).toBeGreaterThanOrEqual(this.max - this.open.length);
      expect(lost).toBe(this.displaceableFor(owner)[0]);
      this.remove(lost);
    }
    const isRefused = this.weightOf(owner) >= this.max - this.open.length;
    expect(connection === null).toBe(isRefused);
    if (isRefused) expect(this.displaceableFor(owner)).toEqual([]);
    if (connection === null) return;
    opened.connection = connection;
    this.open.push(opened);
    expect(this.open.length).toBeLessThanOrEqual(this.max);
  }

  /**
   * The connections that have long brought no request, the oldest first; then idle ones of owners that have no fewer than this one:
   * those of the owner with the most first, then the longest idle.
   */
  private displaceableFor(owner: number): Opened[] {
    const unused = this.open.filter(
      (one) => one.owner !== TRUSTED && one.isUnused && this.nowMs - one.openedAtMs >= UNUSED_MS,
    );
    const idle = this.open
      .filter((one) => one.requests === 0 && this.weightOf(one.owner) >= this.weightOf(owner))
      .sort((one, other) => this.weightOf(other.owner) - this.weightOf(one.owner));
    return [...unused, ...idle];
  }

  private weightOf(owner: number): number {
    return owner === TRUSTED ? 0 : this.open.filter((one) => one.owner === owner).length;
  }

  private remove(opened: Opened): void {
    this.open.splice(this.open.indexOf(opened), 1);
  }
}

describe('the connections of all addresses', () => {
  it('are shared: one is refused only to an address that has as many as are free, once no address with as many has an idle one', async () => {
    await checkProperty(
      'connections are shared',
      fc.property(fc.integer({ min: 1, max: 12 }), steps, (max, history) => {
        const peers = new Peers(max);
        for (const step of history) peers.take(step);
      }),
      { runs: 1_000 },
    );
  });

  it('that are opened and never answered leave an equal share to the next address, regardless of how many addresses do so', () => {
    const max = 1_000;
    for (const owners of [1, 2, 9, 99]) {
      const shares = new ConnectionShares<null>(max);
      for (let round = 0; round < max; round += 1)
        for (let owner = 0; owner < owners; owner += 1)
          shares.admit(null, { name: `attacker ${owner}`, isTrusted: false }, 0);
      let free = 0;
      const admit = (): unknown => shares.admit(null, { name: `customer ${free}`, isTrusted: false }, 0);
      for (; free < Math.floor(max / (owners + 1)); free += 1)
        expect(admit()).toMatchObject({ connection: {}, displaced: [] });
    }
  });

  it('that never send a request are closed for an address with many, regardless of how many addresses they come from', () => {
    const max = 200;
    const shares = new ConnectionShares<number>(max);
    for (let owner = 1; owner < max; owner += 1)
      shares.admit(owner, { name: `silent ${owner}`, isTrusted: false }, 0);
    const displaced = new Set<number>();
    for (let opened = 0; opened < 15; opened += 1) {
      const admission = shares.admit(0, { name: 'an office', isTrusted: false }, UNUSED_MS);
      expect(admission.connection).not.toBeNull();
      for (const lost of admission.displaced) displaced.add(lost);
    }
    // Not one of its own.
    expect(displaced.has(0)).toBe(false);
  });
});
