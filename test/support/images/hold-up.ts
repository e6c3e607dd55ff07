import { ImageMakerService } from '../../../src/gateway/images/calls/image-maker.service.js';
import { WalletEngine } from '../../../src/money/wallets/wallet-engine.js';
import type { TestApp } from '../app/test-app.js';
import { undoAfterTest } from '../clean-up.js';

type AnyMethod = (...args: never[]) => Promise<unknown>;

/** What waits in a process until it is let go, or until the test that holds it up is over. */
export type HeldUp = {
  /** Resolves when the first one has come. */
  readonly reached: Promise<void>;
  readonly letGo: () => void;
};

/** No image is made in this process until it is let go: a provider that works, and has named no task yet. */
export function holdUpMaking(at: TestApp): HeldUp {
  return holdUp(at.app.get(ImageMakerService), 'make');
}

/** No money moves in this process until it is let go. */
export function holdUpMoney(at: TestApp): HeldUp {
  return holdUp(at.app.get(WalletEngine), 'execute');
}

/** No call of this method begins until it is let go. */
export function holdUp(target: object, method: string): HeldUp {
  const methods = target as Record<string, AnyMethod>;
  const original = methods[method] as AnyMethod;
  let reach = (): void => undefined;
  let open = (): void => undefined;
  const reached = new Promise<void>((resolve) => (reach = resolve));
  const opened = new Promise<void>((resolve) => (open = resolve));
  methods[method] = async (...args) => {
    reach();
    await opened;
    return original.apply(target, args);
  };
  let isHeldUp = true;
  const letGo = (): void => {
    if (!isHeldUp) return;
    isHeldUp = false;
    methods[method] = original;
    open();
  };
  undoAfterTest(letGo);
  return { reached, letGo };
}
