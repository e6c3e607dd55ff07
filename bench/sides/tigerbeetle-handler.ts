/** The same bare handler, which stores in TigerBeetle: the nearest thing to a limit for a ledger that answers HTTP. */
import { createRequire } from 'node:module';
import fastify from 'fastify';
import { HOT_WALLET } from '../wallets.js';
import { DEBIT_SCHEMA, debitAnswer, IMAGE_MICROS, type DebitBody } from './debit-body.js';
import { listen } from './listen.js';

/** What is used of `tigerbeetle-node` 0.17, which is no dependency of this project. */
type Row = Readonly<Record<string, bigint | number>>;
type Result = { readonly status: number };
type TigerBeetle = {
  readonly createClient: (options: { cluster_id: bigint; replica_addresses: string[] }) => {
    createAccounts(rows: Row[]): Promise<Result[]>;
    createTransfers(rows: Row[]): Promise<Result[]>;
  };
  readonly id: () => bigint;
  readonly AccountFlags: { readonly debits_must_not_exceed_credits: number };
  readonly CreateAccountStatus: { readonly created: number };
  readonly CreateTransferStatus: { readonly created: number };
};

const CREDIT_MICROS = 1_000_000_000_000n;
/** Well below what fits one message of theirs. */
const ROWS_A_REQUEST = 1_000;
/** Both are numbers of the user's own choosing there. */
const KIND = { ledger: 1, code: 1 };

const { createClient, id, AccountFlags, CreateAccountStatus, CreateTransferStatus } = createRequire(
  import.meta.url,
)('tigerbeetle-node') as TigerBeetle;
const client = createClient({ cluster_id: 0n, replica_addresses: [process.env['TIGERBEETLE'] ?? ''] });

/** Of this run alone, so that a server which has been used before can be used again. */
const issuer = id();
const revenue = issuer + 1n;
const toWalletId = (account: string): bigint => revenue + BigInt(account.slice('acct_'.length));

const toAccount = (accountId: bigint, flags: number): Row => ({
  id: accountId,
  debits_pending: 0n,
  debits_posted: 0n,
  credits_pending: 0n,
  credits_posted: 0n,
  user_data_128: 0n,
  user_data_64: 0n,
  user_data_32: 0,
  reserved: 0,
  ...KIND,
  flags,
  timestamp: 0n,
});

const toTransfer = (debit: bigint, credit: bigint, amount: bigint): Row => ({
  id: id(),
  debit_account_id: debit,
  credit_account_id: credit,
  amount,
  pending_id: 0n,
  user_data_128: 0n,
  user_data_64: 0n,
  user_data_32: 0,
  timeout: 0,
  ...KIND,
  flags: 0,
  timestamp: 0n,
});

function refuseFailures(results: readonly Result[], sent: number, created: number): void {
  if (results.length === sent && results.every(({ status }) => status === created)) return;
  throw new Error(
    `TigerBeetle (tigerbeetle-node 0.17 or later) refused: ${JSON.stringify(results.slice(0, 3))}`,
  );
}

async function post(transfers: Row[]): Promise<void> {
  refuseFailures(await client.createTransfers(transfers), transfers.length, CreateTransferStatus.created);
}

async function prepare(): Promise<void> {
  const wallets = Array.from({ length: HOT_WALLET }, (_, index) => revenue + BigInt(index + 1));
  const { debits_must_not_exceed_credits: hardCap } = AccountFlags;
  const accounts = [
    toAccount(issuer, 0),
    toAccount(revenue, 0),
    ...wallets.map((id) => toAccount(id, hardCap)),
  ];
  for (let from = 0; from < accounts.length; from += ROWS_A_REQUEST) {
    const some = accounts.slice(from, from + ROWS_A_REQUEST);
    refuseFailures(await client.createAccounts(some), some.length, CreateAccountStatus.created);
  }
  for (let from = 0; from < wallets.length; from += ROWS_A_REQUEST) {
    const some = wallets.slice(from, from + ROWS_A_REQUEST);
    await post(some.map((wallet) => toTransfer(issuer, wallet, CREDIT_MICROS)));
  }
}

const toDebit = ({ account, images }: DebitBody): Row =>
  toTransfer(toWalletId(account), revenue, BigInt(images * IMAGE_MICROS));

const app = fastify();
const key = `Bearer ${process.env['OPERATOR_KEY'] ?? ''}`;

app.post<{ Body: DebitBody }>('/v1/debits', { schema: { body: DEBIT_SCHEMA } }, async (request, reply) => {
  if (request.headers.authorization !== key) return reply.code(401).send({ error: 'unknown key' });
  await post([toDebit(request.body)]);
  return reply.code(201).send(debitAnswer(request.body));
});

const batch = {
  type: 'object',
  required: ['debits'],
  properties: { debits: { type: 'array', items: DEBIT_SCHEMA } },
};
app.post<{ Body: { debits: DebitBody[] } }>(
  '/v1/debits/batch',
  { schema: { body: batch } },
  async (request, reply) => {
    if (request.headers.authorization !== key) return reply.code(401).send({ error: 'unknown key' });
    await post(request.body.debits.map(toDebit));
    return { object: 'debit_batch', data: request.body.debits.map(debitAnswer) };
  },
);

await prepare();
await listen(app);
