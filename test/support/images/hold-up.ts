import { jest } from '@jest/globals';
import { ImageMaker } from '../../../src/generation/image-maker.service.js';
import { WalletEngine } from '../../../src/wallets/wallet-engine.js';
import type { TestApp } from '../app/test-app.js';

/** What waits in a process until it is let go. */
export type HeldUp = {
  /** Resolves when the first one has come. */
  readonly reached: Promise<void>;
  readonly letGo: () => void;
};

/** No image is made in this process until it is let go: a provider that works, and has named no task yet. */
export function holdUpMaking(at: TestApp): HeldUp {
  const maker = at.app.get<ImageMaker>(ImageMaker);
  const make = maker.make.bind(maker);
  const { pass, ...heldUp } = gate(() => spy.mockRestore());
  const spy = jest.spyOn(maker, 'make').mockImplementation(async (...args) => {
    await pass();
    return make(...args);
  });
  return heldUp;
}

/** No money moves in this process until it is let go. */
export function holdUpMoney(at: TestApp): HeldUp {
  const engine = at.app.get<WalletEngine>(WalletEngine);
  const execute = engine.execute.bind(engine);
  const { pass, ...heldUp } = gate(() => spy.mockRestore());
  const spy = jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
    await pass();
    return execute(command);
  });
  return heldUp;
}

function gate(ended: () => void): HeldUp & { readonly pass: () => Promise<void> } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let reach = (): void => undefined;
  const reached = new Promise<void>((resolve) => (reach = resolve));
  return {
    pass: () => {
      reach();
      return opened;
    },
    reached,
    letGo: () => {
      ended();
      open();
    },
  };
}
