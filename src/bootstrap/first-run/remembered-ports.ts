import { join } from 'node:path';
import { SimulatorMissingError } from '../simulators.js';
import { readPrivateJson, writePrivateJson } from './private-file.js';

const FILE = 'ports.json';
const PORT_MAX = 65_535;

/** Remembers which ports the simulators had, so that an open payment page still works after a restart. */
export class RememberedPorts {
  private constructor(
    private readonly path: string,
    private readonly ports: Record<string, number>,
  ) {}

  static async load(sandboxDir: string): Promise<RememberedPorts> {
    const path = join(sandboxDir, FILE);
    const stored = (await readPrivateJson(path)) ?? {};
    const valid = Object.entries(stored).filter(([, port]) => isPort(port)) as [string, number][];
    return new RememberedPorts(path, Object.fromEntries(valid));
  }

  /** Returns the address of a simulator that another process started. Throws `SimulatorMissingError`. */
  getBaseUrl(simulator: string): URL {
    const port = this.ports[simulator];
    if (port === undefined) throw new SimulatorMissingError(simulator);
    return new URL(`http://127.0.0.1:${port}`);
  }

  /** Starts on the port of the last run, or on any other when another program has taken it since. */
  async start<T extends { readonly baseUrl: string }>(
    simulator: string,
    startOn: (port: number) => Promise<T>,
  ): Promise<T> {
    const started = await startOn(this.ports[simulator] ?? 0).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return startOn(0);
      throw error;
    });
    await this.remember(simulator, Number(new URL(started.baseUrl).port));
    return started;
  }

  private async remember(simulator: string, port: number): Promise<void> {
    if (this.ports[simulator] === port) return;
    this.ports[simulator] = port;
    await writePrivateJson(this.path, this.ports);
  }
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= PORT_MAX;
}
