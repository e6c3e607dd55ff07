import { afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { GenerationRecordsService } from '../../src/gateway/images/calls/records/generation-records.service.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { OrphanedHoldsService } from '../../src/gateway/images/calls/recovery/orphaned-holds.service.js';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { balancesOf, expectReceiptsToAgree, generate, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const CREDIT_MICROS = 1_000_000n;

/** Once the provider has been asked, an answer that claims "nothing was charged" has to be sure of it. */
describe('a call whose ledger goes away while the provider works', () => {
  let app: TestApp;
  let customer: TestCustomer;

  beforeAll(async () => {
    app = await sharedApp();
  });

  beforeEach(async () => {
    customer = await app.createCustomer({ grantMicros: CREDIT_MICROS });
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    setLimits(app, { callDeadlineMs: 110_000, orphanedAfterMs: 60_000 });
    await expectBooksToBalance(app.dataSource);
  });

  const away = (): Promise<never> => Promise.reject(new Error('Connection terminated unexpectedly'));

  /** The engine, unreachable for one kind of command. */
  function loseEngineFor(type: WalletCommand['type']): void {
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest
      .spyOn(engine, 'execute')
      .mockImplementation((command) =>
        command.type === type ? Promise.reject(new DatabaseUnavailableError('away')) : execute(command),
      );
  }

  /** What the jobs do once the ledger is back and the lease is over. */
  async function recover(): Promise<void> {
    jest.restoreAllMocks();
    setLimits(app, { orphanedAfterMs: 0 });
    await app.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 s' WHERE status IN ('running', 'unresolved')`,
    );
    await app.app.get(GenerationRecoveryService).recoverDue();
    await app.app.get(OrphanedHoldsService).release();
  }

  function expectPending(answer: TestAnswer, code: string): void {
    expect(answer.expect(503).body.error).toMatchObject({ code, outcome: 'pending' });
    expect(answer.headers.get('x-should-retry')).toBe('false');
  }

  it('says that its charge is unknown when the capture is not confirmed, and is charged once', async () => {
    loseEngineFor('capture');
    const answer = await generate(customer);
    expectPending(answer, 'database_unavailable');
    expect(answer.body.error).not.toHaveProperty('charged_micros');
    await recover();
    expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS - PRICE_MICROS, held: 0n });
    await expectReceiptsToAgree(app, customer.accountId);
  });

  it('says so too when neither its row can be written nor its hold released, and costs nothing', async () => {
    jest.spyOn(app.app.get(GenerationRecordsService), 'begin').mockImplementation(away);
    loseEngineFor('void');
    const answer = await generate(customer);
    expectPending(answer, 'database_unavailable');
    expect(answer.body.error).not.toHaveProperty('charged_micros');
    await recover();
    expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS, held: 0n });
  });

  it('says that nothing was charged only when the hold is released', async () => {
    jest.spyOn(app.app.get(GenerationRecordsService), 'begin').mockImplementation(away);
    const answer = await generate(customer);
    expect(answer.expect(503).body.error).toMatchObject({
      code: 'database_unavailable',
      charged_micros: '0',
    });
    expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS, held: 0n });
  });

  it('still forbids to call again when it is lost, and is delivered when the provider is done', async () => {
    setLimits(app, { callDeadlineMs: 300 });
    jest.spyOn(app.app.get(GenerationRecordsService), 'lose').mockImplementation(away);
    const answer = await generate(customer, { prompt: 'x [sandbox:slow=600]' });
    expectPending(answer, 'upstream_timeout');
    await recover();
    expect(await balancesOf(customer)).toMatchObject({ posted: CREDIT_MICROS - PRICE_MICROS, held: 0n });
    await expectReceiptsToAgree(app, customer.accountId);
  });
});
