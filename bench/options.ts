import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { FLOOD_KINDS, isFloodKind, type FloodKind } from './flood-kinds.js';

const PARTS = ['debits', 'images', 'webhooks', 'race', 'mixed', 'refusals', 'fairness', 'stalls'] as const;
export type Part = (typeof PARTS)[number];
/** What makes the tables of docs/PERFORMANCE.md, in about six minutes. */
const MAIN_PARTS = 'debits,images';

export const HELP = `npm run bench                            the main tables, about six minutes
npm run bench -- --quick                 one short round: whether it works, not what it shows
npm run bench -- --seconds 6 --rounds 3  longer turns, for figures that are to be kept
npm run bench -- --docs                  writes the tables into docs/PERFORMANCE.md as well

--only PARTS         ${PARTS.join(', ')}; default: ${MAIN_PARTS}
--seconds N          of each turn (2)
--rounds N           in which the sides take turns (3)
--rows N             debits that each ledger has before anything is measured (0)
--json FILE          everything that was measured
--with tigerbeetle   compares with the server at --tigerbeetle HOST:PORT as well; --tigerbeetle-pid PID counts its CPU
--calls, --images    of the race: image calls at once (10000), and credit for so many images (1000)
--top-ups, --debits  of webhooks: payments and debits a second (50, 500)
--mixed N            of mixed: random calls (100000)
--flood KINDS        of fairness: ${FLOOD_KINDS.join(', ')}; default: all of them
--flood-seconds N    of fairness: how long a customer is measured, alone and during the flood (60)`;

const NUMBERS = {
  seconds: '2',
  rounds: '3',
  rows: '0',
  calls: '10000',
  images: '1000',
  mixed: '100000',
  'top-ups': '50',
  debits: '500',
  'flood-seconds': '60',
} as const;
type NumberName = keyof typeof NUMBERS;

export type TigerBeetleServer = { readonly address: string; readonly pid: number | null };

export type Options = Readonly<Record<NumberName, number>> & {
  readonly parts: ReadonlySet<Part>;
  readonly flood: readonly FloodKind[];
  readonly tigerBeetle: TigerBeetleServer | null;
  readonly json: string | null;
  readonly docs: boolean;
  readonly help: boolean;
};

/** What the user can set right; its message is all there is to say. */
export class UsageError extends Error {}

/** Throws `UsageError` with what is wrong about the arguments. */
export function readOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const numbers = Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, text])) as Record<
    NumberName,
    typeof text
  >;
  const values = parse(args, {
    ...numbers,
    only: { ...text, default: MAIN_PARTS },
    flood: { ...text, default: FLOOD_KINDS.join(',') },
    quick: flag,
    docs: flag,
    help: flag,
    json: text,
    with: text,
    tigerbeetle: text,
    'tigerbeetle-pid': text,
  });
  const quick: Partial<Record<NumberName, string>> = values.quick
    ? { seconds: '1', rounds: '1', 'flood-seconds': '10' }
    : {};
  const read = (name: NumberName): number =>
    readNumber(name, values[name] ?? quick[name] ?? NUMBERS[name], name === 'rows' ? 0 : 1);
  const names = Object.keys(NUMBERS) as NumberName[];
  return {
    ...(Object.fromEntries(names.map((name) => [name, read(name)])) as Record<NumberName, number>),
    parts: readParts(values.only),
    flood: readFlood(values.flood),
    tigerBeetle: readTigerBeetle(values.with, values.tigerbeetle, values['tigerbeetle-pid']),
    json: values.json ?? null,
    docs: values.docs,
    help: values.help,
  };
}

function parse<T extends NonNullable<ParseArgsConfig['options']>>(args: readonly string[], options: T) {
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${HELP}`);
  }
}

function readNumber(name: string, text: string, min: number): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < min) {
    throw new UsageError(`--${name} must be a whole number, at least ${min}`);
  }
  return Number(text);
}

function readParts(text: string): ReadonlySet<Part> {
  const parts = text.split(',').map((name) => PARTS.find((part) => part === name.trim()));
  if (parts.includes(undefined)) throw new UsageError(`--only must name some of ${PARTS.join(', ')}`);
  return new Set(parts as Part[]);
}

function readFlood(text: string): readonly FloodKind[] {
  const names = text.split(',').map((name) => name.trim());
  const kinds = names.filter(isFloodKind);
  if (kinds.length < names.length)
    throw new UsageError(`--flood must name some of ${FLOOD_KINDS.join(', ')}`);
  return kinds;
}

function readTigerBeetle(
  side: string | undefined,
  address: string | undefined,
  pid: string | undefined,
): TigerBeetleServer | null {
  if (side !== undefined && side !== 'tigerbeetle')
    throw new UsageError('--with knows one side: tigerbeetle');
  if (side !== undefined && address === undefined) {
    throw new UsageError(
      '--with tigerbeetle needs the address of a running server: --tigerbeetle 127.0.0.1:3000',
    );
  }
  if (address === undefined) return null;
  return { address, pid: pid === undefined ? null : readNumber('tigerbeetle-pid', pid, 1) };
}

/** Where the figures come from. */
export function describeMachine(): string {
  const cores = cpus();
  const { status, stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' });
  return [
    new Date().toISOString().slice(0, 10),
    ...(status === 0 ? [`commit ${stdout.trim()}`] : []),
    `${cores.length} cores (${cores[0]?.model.trim() ?? 'unknown'})`,
    `Node ${process.version}`,
    'embedded PostgreSQL with durable commits',
  ].join(', ');
}
