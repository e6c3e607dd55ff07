import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { isTransient } from './constraints.js';

/**
 * An open database transaction. A `Tx` never reaches a port: no network call may run inside one.
 */
export type Tx = EntityManager;

/** A deadlock victim rarely loses twice; more attempts than this hide a locking fault. */
const ATTEMPTS_MAX = 5;

@Injectable()
export class TransactionRunner {
  constructor(private readonly dataSource: DataSource) {}

  /** Runs `work` in one tx, from its start again after a deadlock or serialization failure. */
  async run<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.dataSource.transaction(work);
      } catch (error) {
        if (!isTransient(error) || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }
}
