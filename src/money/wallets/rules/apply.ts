import type { WalletCommand } from './command.js';
import { authorize, capture, expireHold, voidHold } from './holds.js';
import { freeze, unfreeze } from './freezes.js';
import { setKeyBudget } from './key-limits.js';
import {
  adjust,
  book,
  clawBack,
  credit,
  debit,
  expireLots,
  grant,
  reinstate,
  writeOff,
} from './movements.js';
import type { Applied, Rejected } from './outcome.js';
import type { Aggregate } from './wallet.js';

/**
 * The rules of a wallet: a pure function of what is known, what is asked and what time it is. A rejected
 * command changes nothing. Time is Unix milliseconds.
 */
export function apply(aggregate: Aggregate, command: WalletCommand, nowMs: number): Applied | Rejected {
  switch (command.type) {
    case 'credit':
      return credit(aggregate, command, nowMs);
    case 'reinstate':
      return reinstate(aggregate, command, nowMs);
    case 'grant':
      return grant(aggregate, command, nowMs);
    case 'authorize':
      return authorize(aggregate, command, nowMs);
    case 'capture':
      return capture(aggregate, command, nowMs);
    case 'void':
      return voidHold(aggregate, command, nowMs);
    case 'expireHold':
      return expireHold(aggregate, command, nowMs);
    case 'debit':
      return debit(aggregate, command, nowMs);
    case 'clawBack':
      return clawBack(aggregate, command, nowMs);
    case 'writeOff':
      return writeOff(aggregate, command, nowMs);
    case 'expireLots':
      return expireLots(aggregate, command, nowMs);
    case 'adjust':
      return adjust(aggregate, command, nowMs);
    case 'setKeyBudget':
      return setKeyBudget(aggregate, command, nowMs);
    case 'book':
      return book(aggregate, command, nowMs);
    case 'freeze':
      return freeze(aggregate, command, nowMs);
    case 'unfreeze':
      return unfreeze(aggregate, command, nowMs);
  }
}
