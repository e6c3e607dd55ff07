import { describe, expect, it } from '@jest/globals';
import {
  canTransition,
  GENERATION_TRANSITIONS,
  type GenerationStatus,
  type GenerationTransition,
} from '../../src/gateway/images/calls/generation.machine.js';

const STATUSES: readonly GenerationStatus[] = ['running', 'unresolved', 'succeeded', 'failed'];
const ALLOWED = new Set([
  'running deliver',
  'unresolved deliver',
  'running fail',
  'unresolved fail',
  'running lose',
]);

describe('the life of a generation', () => {
  const transitions = Object.keys(GENERATION_TRANSITIONS) as GenerationTransition[];
  it.each(STATUSES.flatMap((status) => transitions.map((transition) => [status, transition] as const)))(
    'from %s, %s is allowed only where the table says so',
    (status, transition) => {
      expect(canTransition(status, transition)).toBe(ALLOWED.has(`${status} ${transition}`));
    },
  );

  it('never leads on from a final status', () => {
    for (const final of ['succeeded', 'failed'] as const) {
      expect(transitions.filter((transition) => canTransition(final, transition))).toEqual([]);
    }
  });
});
