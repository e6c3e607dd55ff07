/**
 * Lists every event that the service logs in docs/operations/events.md, with its level, message, fields and file; with --check, only says
 * whether the list is up to date (`npm run events`, `npm run events:check`). A line that is logged without an event is refused.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DOCUMENT = fileURLToPath(new URL('../docs/operations/events.md', import.meta.url));
const LEVELS: Readonly<Record<string, string>> = {
  fatal: 'fatal',
  error: 'error',
  warn: 'warn',
  log: 'info',
  info: 'info',
  debug: 'debug',
  verbose: 'trace',
  trace: 'trace',
};
/** Lower case, words joined by `_`, and a dot between what it is about and what happened. */
const EVENT_FORM = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/;

/**
 * The simulators are no part of the product, what the command line prints is for a person, and the logger itself passes on what others
 * log.
 */
const NOT_LOGGED = /^src\/(sandbox|cli|platform\/logging)\//;

type LogEvent = {
  readonly event: string;
  readonly levels: readonly string[];
  readonly message: string;
  readonly fields: readonly string[];
  readonly file: string;
};

type LogEvents = {
  readonly events: readonly LogEvent[];
  /** `file:line` of each line that is logged without a stable event, or whose event cannot be read from the code. */
  readonly withoutEvent: readonly string[];
};

function findLogEvents(): LogEvents {
  const program = readProgram();
  const checker = program.getTypeChecker();
  const events: LogEvent[] = [];
  const withoutEvent: string[] = [];
  for (const source of program.getSourceFiles()) {
    const file = relative(ROOT, source.fileName).replaceAll('\\', '/');
    if (!file.startsWith('src/') || NOT_LOGGED.test(file)) continue;
    const visit = (node: ts.Node): void => {
      const levels = ts.isCallExpression(node) ? toLevels(node.expression, checker) : [];
      if (ts.isCallExpression(node) && levels.length > 0) {
        const names = namesOf(node.arguments[0], checker);
        const { line } = source.getLineAndCharacterOfPosition(node.getStart());
        if (names === null || !names.every((name) => EVENT_FORM.test(name))) {
          withoutEvent.push(`${file}:${line + 1}`);
        }
        const fields = fieldsOf(node.arguments[0], checker);
        const message = textOf(node.arguments[1]);
        for (const event of names ?? []) events.push({ event, levels, message, fields, file });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return { events: events.sort((a, b) => order(a, b)), withoutEvent };
}

function readProgram(): ts.Program {
  const path = fileURLToPath(new URL('../tsconfig.json', import.meta.url));
  const read = ts.readConfigFile(path, (name) => ts.sys.readFile(name));
  const { fileNames, options } = ts.parseJsonConfigFileContent(read.config, ts.sys, ROOT);
  const ours = fileNames.filter((name) => relative(ROOT, name).replaceAll('\\', '/').startsWith('src/'));
  return ts.createProgram(ours, options);
}

function order(a: LogEvent, b: LogEvent): number {
  const [one, other] = [a, b].map(({ event, file, message }) => `${event} ${file} ${message}`) as [
    string,
    string,
  ];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Returns the levels at which this expression logs when it is called; none when it is no logger's method. */
function toLevels(callee: ts.Expression, checker: ts.TypeChecker): string[] {
  const isAccess = ts.isPropertyAccessExpression(callee) || ts.isElementAccessExpression(callee);
  if (!isAccess || !isLogger(callee.expression)) return [];
  const names = ts.isPropertyAccessExpression(callee)
    ? [callee.name.text]
    : (literalsOf(callee.argumentExpression, checker) ?? []);
  return [...new Set(names.flatMap((name) => LEVELS[name] ?? []))];
}

/** Loggers are called `log` or `logger`, wherever they are kept. */
function isLogger(node: ts.Expression): boolean {
  const name = ts.isPropertyAccessExpression(node) ? node.name.text : ts.isIdentifier(node) ? node.text : '';
  return name === 'log' || name === 'logger';
}

/** Returns what `event` may be; null when there is none, or when it is not known from the code. */
function namesOf(fields: ts.Expression | undefined, checker: ts.TypeChecker): string[] | null {
  const object = fields === undefined ? null : toObjectLiteral(fields, checker);
  for (const property of object?.properties ?? []) {
    if (ts.isSpreadAssignment(property)) {
      const names = namesOf(property.expression, checker);
      if (names !== null) return names;
    } else if (property.name?.getText() === 'event') {
      if (ts.isPropertyAssignment(property)) return literalsOf(property.initializer, checker);
      return ts.isShorthandPropertyAssignment(property) ? literalsOfConstant(property, checker) : null;
    }
  }
  return null;
}

/** The literal itself, or the one that a constant is declared with. */
function toObjectLiteral(node: ts.Expression, checker: ts.TypeChecker): ts.ObjectLiteralExpression | null {
  if (ts.isObjectLiteralExpression(node)) return node;
  const declaration = ts.isIdentifier(node) ? checker.getSymbolAtLocation(node)?.valueDeclaration : undefined;
  if (declaration === undefined || !ts.isVariableDeclaration(declaration)) return null;
  const { initializer } = declaration;
  return initializer !== undefined && ts.isObjectLiteralExpression(initializer) ? initializer : null;
}

/** Returns every text that the expression may be; null when the code does not say. */
function literalsOf(node: ts.Expression, checker: ts.TypeChecker): string[] | null {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isConditionalExpression(node)) {
    const both = [literalsOf(node.whenTrue, checker), literalsOf(node.whenFalse, checker)];
    return both.some((texts) => texts === null) ? null : both.flatMap((texts) => texts ?? []);
  }
  if (ts.isTemplateExpression(node)) {
    let texts: string[] | null = [node.head.text];
    for (const span of node.templateSpans) {
      const parts = literalsOf(span.expression, checker);
      if (parts === null) return null;
      texts = texts.flatMap((text) => parts.map((part) => `${text}${part}${span.literal.text}`));
    }
    return texts;
  }
  return literalsOfType(checker.getTypeAtLocation(node));
}

function literalsOfConstant(node: ts.ShorthandPropertyAssignment, checker: ts.TypeChecker): string[] | null {
  const symbol = checker.getShorthandAssignmentValueSymbol(node);
  return symbol === undefined ? null : literalsOfType(checker.getTypeOfSymbolAtLocation(symbol, node));
}

function literalsOfType(type: ts.Type): string[] | null {
  const types = type.isUnion() ? type.types : [type];
  return types.every((each) => each.isStringLiteral()) ? types.map((each) => each.value) : null;
}

function fieldsOf(fields: ts.Expression | undefined, checker: ts.TypeChecker): string[] {
  if (fields === undefined || !(checker.getTypeAtLocation(fields).flags & ts.TypeFlags.Object)) return [];
  const names = checker
    .getTypeAtLocation(fields)
    .getProperties()
    .map((property) => property.getName());
  return names.filter((name) => name !== 'event');
}

/** Where the message has values in it, an ellipsis takes their place. */
function textOf(node: ts.Expression | undefined): string {
  if (node === undefined) return '';
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isConditionalExpression(node)) return `${textOf(node.whenTrue)} / ${textOf(node.whenFalse)}`;
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
  }
  if (ts.isBinaryExpression(node)) return `${textOf(node.left)}${textOf(node.right)}`;
  return '…';
}

function describeLogEvents({ events }: LogEvents): string {
  const lines = [
    '# Log events',
    '',
    'The service logs JSON lines. Every line that it writes has an `event` from this list, which stays the same when its message is worded',
    'better, so alerts and searches go by it. Written by `npm run events` from the code; `npm run lint` notices what is missing.',
    '',
    '- `error` and `fatal` need a person; `warn` is repaired by the service itself, or needs one if it goes on.',
    '- `err` is an error with its stack.',
  ];
  let group = '';
  for (const { event, levels, message, fields, file } of mergeEqual(events)) {
    const [area = ''] = event.split('.');
    if (area !== group) lines.push('', `## ${area}`, '');
    group = area;
    lines.push(
      `- \`${event}\` (${levels.join(' or ')}): ${message === '…' ? 'what happened, in words' : message}`,
    );
    if (fields.length > 0) lines.push(`  - Fields: ${fields.map((field) => `\`${field}\``).join(', ')}`);
    lines.push(`  - \`${file}\``);
  }
  return `${lines.join('\n')}\n`;
}

/** One entry for lines of one file that differ in nothing. */
function mergeEqual(events: readonly LogEvent[]): LogEvent[] {
  return [...new Map(events.map((each) => [JSON.stringify(each), each])).values()];
}

function main(): void {
  const found = findLogEvents();
  const text = describeLogEvents(found);
  for (const place of found.withoutEvent) console.log(`${place}: a line is logged without a stable event`);
  if (found.withoutEvent.length > 0) process.exitCode = 1;
  if (!process.argv.includes('--check')) writeFileSync(DOCUMENT, text);
  else if (!existsSync(DOCUMENT) || readFileSync(DOCUMENT, 'utf8') !== text) {
    console.log('docs/operations/events.md is out of date: run `npm run events`.');
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
