import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Histogram } from 'prom-client';
import { MetricsRegistry } from '../../platform/metrics/metrics-registry.js';
import type { EngineObserver } from './wallet-engine.js';
import type { WalletCommand, Outcome, Rejection } from './rules/command.js';

const BATCH_SIZE_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];
const COMMIT_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/**
 * The metrics of the wallet engine. No amount is summed here, because a counter is a float and money is added up in the ledger.
 * No account is named.
 */
@Injectable()
export class EngineMetrics implements EngineObserver {
  private queued = 0;
  private readonly batchSize: Histogram;
  private readonly commitDuration: Histogram;
  /** Accepted commands since the metrics were last read, by type: a counter's own labels cost a microsecond a command. */
  private readonly accepts = { false: new Map<string, number>(), true: new Map<string, number>() };
  private readonly refusals: Counter;
  private readonly faults: Counter;

  constructor(registry: MetricsRegistry) {
    const registers = [registry];
    this.watchQueue(registry);
    this.countCommands(registry);
    this.batchSize = new Histogram({
      name: 'coffer_engine_batch_size',
      help: 'Money commands committed together.',
      buckets: BATCH_SIZE_BUCKETS,
      registers,
    });
    this.commitDuration = new Histogram({
      name: 'coffer_engine_commit_duration_seconds',
      help: 'From taking a batch off the queue to its durable commit, retries included.',
      buckets: COMMIT_BUCKETS_SECONDS,
      registers,
    });
    this.refusals = new Counter({
      name: 'coffer_engine_refusals_total',
      help: 'Money commands that the wallet rules refused, by reason.',
      labelNames: ['reason'],
      registers,
    });
    this.faults = new Counter({
      name: 'coffer_engine_faults_total',
      help: 'Commands turned away by a full queue (saturated), batches repeated (retried), commands given up (failed).',
      labelNames: ['fault'],
      registers,
    });
  }

  queueLength(length: number): void {
    this.queued = length;
  }

  saturated(): void {
    this.faults.inc({ fault: 'saturated' });
  }

  committed(batchSize: number, durationMs: number): void {
    this.batchSize.observe(batchSize);
    this.commitDuration.observe(durationMs / 1_000);
  }

  failed(batchSize: number): void {
    this.faults.inc({ fault: 'failed' }, batchSize);
  }

  retried(): void {
    this.faults.inc({ fault: 'retried' });
  }

  accepted(command: WalletCommand, outcome: Outcome): void {
    const replayed = 'replayed' in outcome && outcome.replayed;
    const counts = this.accepts[`${replayed}`];
    counts.set(command.type, (counts.get(command.type) ?? 0) + 1);
  }

  refused(rejection: Rejection): void {
    this.refusals.inc({ reason: rejection.code });
  }

  private countCommands(registry: MetricsRegistry): void {
    const { accepts } = this;
    new Counter({
      name: 'coffer_engine_commands_total',
      help: 'Accepted money commands (debit, authorize, capture, credit ...); replayed ones moved nothing again.',
      labelNames: ['command', 'replayed'],
      registers: [registry],
      collect() {
        for (const [replayed, counts] of Object.entries(accepts)) {
          for (const [command, count] of counts) this.inc({ command, replayed }, count);
          counts.clear();
        }
      },
    });
  }

  /** The queue changes with every command, so its length is a plain number that is read when asked for. */
  private watchQueue(registry: MetricsRegistry): void {
    const length = () => this.queued;
    new Gauge({
      name: 'coffer_engine_queue_length',
      help: 'Money commands that wait for the next batch.',
      registers: [registry],
      collect() {
        this.set(length());
      },
    });
  }
}
