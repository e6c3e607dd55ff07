import { randomBytes } from 'node:crypto';
import type { EmbeddedPostgres } from '../../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import { type SandboxStripe, startSandboxStripe } from 'coffer-sandbox/stripe/server';
import type { CleanUp } from '../clean-up.js';
import { startOwnPostgres } from '../database/own-postgres.js';
import { momentLater } from '../processes.js';
import type { SeededRandom } from '../seeded-random.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  removeDataDir,
  ServiceProcess,
} from '../process/service-process.js';
import type { Target } from './plan.js';

/** What one kill -9 takes down, in one moment. */
export type Victim = 'first' | 'second' | 'database';
const OUTAGE_MAX_MS = 300;

type Simulated = { readonly stripe: SandboxStripe; readonly blackForestLabs: SandboxBlackForestLabs };

/**
 * Two service processes on one PostgreSQL of the test's own, with the settings of production, over the simulated Stripe
 * and Black Forest Labs. The test kills any of the three, and starts it again.
 */
export class ChaosStage {
  /** Before the database was killed for the first time, and after the last. */
  readonly databaseUrl: string;
  private readonly waiting = new Set<() => void>();
  private failure: Error | null = null;

  private constructor(
    private readonly simulated: Simulated,
    private readonly dirs: { readonly database: string; readonly services: string },
    private readonly ports: readonly [number, number],
    private readonly env: Readonly<Record<string, string>>,
    private database: EmbeddedPostgres,
    private readonly services: [ServiceProcess | null, ServiceProcess | null],
  ) {
    this.databaseUrl = database.url;
  }

  static async start(cleanUp: CleanUp): Promise<ChaosStage> {
    const newDir = async (): Promise<string> => {
      const dir = await createDataDir();
      cleanUp.add(() => removeDataDir(dir));
      return dir;
    };
    const dirs = { database: await newDir(), services: await newDir() };
    const ports = [await chooseServicePort(), await chooseServicePort()] as const;
    const secrets = { stripe: `sk_test_${hex()}`, webhook: `whsec_${hex()}`, provider: `bfl_${hex()}` };
    const simulated = await simulate(cleanUp, ports[0], secrets);
    const database = await startOwnPostgres(dirs.database);
    const stage = new ChaosStage(
      simulated,
      dirs,
      ports,
      environment(simulated, secrets, ports[0], database.url),
      database,
      [null, null],
    );
    cleanUp.add(() => stage.stop());
    await Promise.all([stage.startService(0), stage.startService(1)]);
    return stage;
  }

  get stripe(): SandboxStripe {
    return this.simulated.stripe;
  }

  get serviceUrls(): readonly [string, string] {
    const [first, second] = this.ports;
    return [`http://127.0.0.1:${first}`, `http://127.0.0.1:${second}`];
  }

  /** One that runs. */
  service(to: Target = 0): ServiceProcess {
    const service = this.services[to];
    if (service === null) throw new Error(`service ${to} does not run`);
    return service;
  }

  isRunning(to: Target): boolean {
    return this.services[to] !== null;
  }

  /** Resolves when at least one service runs. Rejects when what was killed did not start again. */
  async whenAnyRuns(): Promise<void> {
    while (!this.isRunning(0) && !this.isRunning(1)) {
      if (this.failure !== null) throw this.failure;
      await new Promise<void>((resolve) => this.waiting.add(resolve));
    }
  }

  /** Kills all of them in one moment, and starts them again some moment later. */
  async killAndRestart(victims: readonly Victim[], random: SeededRandom): Promise<void> {
    try {
      await this.killAndStart(victims, random);
    } catch (error) {
      const names = victims.join(' and ');
      this.failure = new Error(`${names}, killed, did not start again`, { cause: error });
      this.wake();
      throw this.failure;
    }
  }

  private async killAndStart(victims: readonly Victim[], random: SeededRandom): Promise<void> {
    if (victims.includes('database')) process.kill(await databaseServerIn(this.dirs.database), 'SIGKILL');
    const targets = ([0, 1] as const).filter((to) => victims.includes(to === 0 ? 'first' : 'second'));
    const killed = targets.map((to) => this.service(to));
    for (const to of targets) this.services[to] = null;
    await Promise.all(killed.map((service) => service.kill()));
    await momentLater(random.between(0, OUTAGE_MAX_MS));
    if (victims.includes('database')) {
      await this.database.stop();
      this.database = await startOwnPostgres(this.dirs.database);
    }
    await Promise.all(targets.map((to) => this.startService(to)));
    // Stripe sends its events to whichever process a load balancer would choose.
    const url = `${random.pick(this.serviceUrls)}/webhooks/stripe`;
    await this.stripe.control.setWebhookEndpoint({ url, secret: this.env['STRIPE_WEBHOOK_SECRET'] ?? '' });
  }

  private async startService(to: Target): Promise<void> {
    const { env } = this;
    const service = await ServiceProcess.start({ dataDir: this.dirs.services, port: this.ports[to], env });
    this.services[to] = service;
    this.wake();
  }

  private wake(): void {
    for (const resume of [...this.waiting]) resume();
    this.waiting.clear();
  }

  private async stop(): Promise<void> {
    for (const service of this.services) await service?.kill();
    await this.database.stop();
  }
}

type Secrets = { readonly stripe: string; readonly webhook: string; readonly provider: string };

/** Every event comes three times and out of order. */
async function simulate(cleanUp: CleanUp, port: number, secrets: Secrets): Promise<Simulated> {
  const blackForestLabs = await startSandboxBlackForestLabs({
    apiKey: secrets.provider,
    instant: true,
    activeTasksMax: null,
    credits: 10_000_000,
  });
  cleanUp.add(() => blackForestLabs.close());
  const webhookEndpoint = { url: `http://127.0.0.1:${port}/webhooks/stripe`, secret: secrets.webhook };
  const stripe = await startSandboxStripe({
    apiKey: secrets.stripe,
    webhookEndpoint,
    webhookRetryDelayMs: 20,
  });
  cleanUp.add(() => stripe.close());
  stripe.control.setWebhookFaults({ copies: 3, reorder: true });
  return { stripe, blackForestLabs };
}

function environment(
  { stripe, blackForestLabs }: Simulated,
  secrets: Secrets,
  port: number,
  databaseUrl: string,
): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    COFFER_MASTER_KEYS: `chaos:${randomBytes(32).toString('base64')}`,
    BFL_API_KEY: secrets.provider,
    BFL_API_BASE: blackForestLabs.baseUrl,
    BFL_ACTIVE_TASKS_MAX: '1000',
    STRIPE_SECRET_KEY: secrets.stripe,
    STRIPE_WEBHOOK_SECRET: secrets.webhook,
    STRIPE_API_BASE: stripe.baseUrl,
  };
}

const hex = (): string => randomBytes(12).toString('hex');
