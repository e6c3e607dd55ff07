import { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseClock, NOW_MS } from '../../platform/database/ledger-clock.js';
import {
  EXPORT_ENCODERS,
  ExportDigest,
  type ExportEncoder,
  type ExportFormat,
  type ExportRange,
  type ExportRow,
} from '../../money/ledger/export/export-format.js';
import { Snapshot, type TextRow } from '../../platform/database/snapshot.js';
import {
  TRANSFER_COLUMN_COUNT,
  TRANSFER_COLUMNS,
  toExportedTransfer,
} from '../../money/ledger/transfer-row.js';
import { GENESIS_HASH } from '../../money/ledger/transfer.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { TooManyExportsError } from './export.errors.js';

/** How many of the pool's dozen connections exports may use. The rest is for charges. */
const EXPORTS_MAX = 2;
/** Finding the rows of a range may require sorting all of them. */
const STATEMENT_SECONDS_MAX = 120;
/** A client that reads nothing for this long has gone, or its snapshot keeps PostgreSQL from removing dead rows. */
const IDLE_SECONDS_MAX = 60;
/** How much is read ahead of a slow client. */
const BUFFER_BYTES = 65_536;

/**
 * Reads the rows in chain order, so that a file can be verified while it is read. Each row has its predecessor's hash: that
 * of the row before it, or, where the range starts within a chain, of the last row that the range leaves out.
 */
const ROWS = `
  SELECT ${TRANSFER_COLUMNS},
         encode(coalesce(lag(t.hash) OVER (PARTITION BY t.account_id ORDER BY t.seq),
                         (SELECT p.hash FROM transfers p WHERE p.account_id = t.account_id AND p.seq = t.seq - 1)), 'hex')
    FROM transfers t`;

@Injectable()
export class LedgerExportService {
  private running = 0;

  constructor(
    private readonly dataSource: DataSource,
    private readonly clock: DatabaseClock,
  ) {}

  /**
   * Streams the ledger as of now, as the text of a file. The file is not held in memory: rows are read at the client's pace.
   * When the database fails halfway the stream fails too, so that the connection breaks and the file cannot look complete.
   *
   * @throws ResourceMissingError for an account that does not exist; TooManyExportsError.
   */
  async open(format: ExportFormat, range: ExportRange): Promise<Readable> {
    if (this.running >= EXPORTS_MAX) throw new TooManyExportsError(EXPORTS_MAX);
    this.running += 1;
    let snapshot: Snapshot | null = null;
    try {
      const options = { statementSecondsMax: STATEMENT_SECONDS_MAX, idleSecondsMax: IDLE_SECONDS_MAX };
      snapshot = await Snapshot.ofPool(this.dataSource, options);
      await requireAccount(snapshot, range.account);
      const exportedAt = new Date(await this.readTimeMs(snapshot)).toISOString();
      const text = write(EXPORT_ENCODERS[format], selectRows(snapshot, range), range, exportedAt);
      // The first rows are read here, while a failure can still be answered with an error and not with a broken file.
      const first = await text.next();
      return this.toStream(first.done === true ? '' : first.value, text, snapshot);
    } catch (error) {
      await this.release(snapshot);
      throw error;
    }
  }

  private async readTimeMs(snapshot: Snapshot): Promise<number> {
    const [row] = await snapshot.rows(`SELECT ${NOW_MS}`);
    return this.clock.read({ now_ms: row?.[0] ?? '' });
  }

  private toStream(first: string, rest: AsyncGenerator<string>, snapshot: Snapshot): Readable {
    const release = () => this.release(snapshot);
    async function* everything(): AsyncGenerator<string> {
      yield first;
      yield* rest;
    }
    const stream = Readable.from(everything(), { objectMode: false, highWaterMark: BUFFER_BYTES });
    // The stream closes when it ends, fails or is dropped by the client, in some cases before it was read.
    stream.once('close', () => void release());
    return stream;
  }

  private async release(snapshot: Snapshot | null): Promise<void> {
    this.running -= 1;
    await snapshot?.close();
  }
}

async function requireAccount(snapshot: Snapshot, account: string | null): Promise<void> {
  if (account === null) return;
  const found = await snapshot.rows('SELECT id FROM accounts WHERE id = $1', [account]);
  if (found.length === 0) throw new ResourceMissingError('account', account, 'account');
}

function selectRows(snapshot: Snapshot, range: ExportRange): AsyncGenerator<readonly TextRow[]> {
  const values: string[] = [];
  const conditions = [
    ['t.account_id =', range.account],
    ['t.created_at >=', range.from],
    ['t.created_at <', range.to],
  ].flatMap(([condition, value]) => (value == null ? [] : [`${condition} $${values.push(value)}`]));
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
  return snapshot.stream(`${ROWS} ${where} ORDER BY t.account_id, t.seq`, values);
}

async function* write(
  encoder: ExportEncoder,
  batches: AsyncGenerator<readonly TextRow[]>,
  range: ExportRange,
  exportedAt: string,
): AsyncGenerator<string> {
  const digest = new ExportDigest();
  let head = encoder.head;
  for await (const batch of batches) {
    const rows = batch.map(toExportRow);
    for (const row of rows) digest.add(row.hash);
    yield head + encoder.rows(rows);
    head = '';
  }
  yield head + encoder.end(digest.end(range, exportedAt));
}

function toExportRow(stored: TextRow): ExportRow {
  return { ...toExportedTransfer(stored), previous_hash: stored[TRANSFER_COLUMN_COUNT] ?? GENESIS_HASH };
}
