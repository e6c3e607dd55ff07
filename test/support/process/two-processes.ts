import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { startTestApp, type TestApp } from '../app/test-app.js';

export type TwoProcesses = {
  /** Its port is where the sandbox Stripe sends its events. */
  readonly app: TestApp;
  /** Another process of the same service: its own engine, pool and job runner on the same database. */
  readonly second: TestApp;
  readonly control: SandboxStripeControl;
  close(): Promise<void>;
};

/** The service twice on one database, and the sandbox Stripe; both work off jobs. */
export async function startTwoProcesses(): Promise<TwoProcesses> {
  const app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  const { stripe, operatorKey, masterKeys } = app.settings;
  const second = await startTestApp({
    databaseUrl: app.databaseUrl,
    settings: { stripe, operatorKey, masterKeys, runJobs: true },
  });
  const close = async (): Promise<void> => {
    await second.close();
    await app.close();
  };
  return { app, second, control: app.stripe.control, close };
}
