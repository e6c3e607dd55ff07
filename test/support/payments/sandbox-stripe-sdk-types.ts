import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import type { Members } from 'coffer-sandbox/stripe/parameter-schema';
import { STRIPE_OPERATIONS } from 'coffer-sandbox/stripe/server';

const RESOURCES = path.join(import.meta.dirname, '../../../node_modules/stripe/esm/resources');

export type Declared = { readonly required: readonly string[]; readonly optional: readonly string[] };

/** The text of a type file of the SDK, relative to its `resources`, without the ending. */
export function typeFile(file: string): string {
  return readFileSync(path.join(RESOURCES, `${file}.d.ts`), 'utf8');
}

/**
 * The members of `interface A`, or of `B` inside `namespace A` (written `A.B`), in a type file of the SDK.
 */
export function declaredMembers(file: string, name: string): Declared {
  const source = ts.createSourceFile(file, typeFile(file), ts.ScriptTarget.Latest, true);
  const found = findInterface(source, name.split('.'));
  if (found === null) throw new Error(`${file} declares no ${name}`);
  const members = found.members.filter(ts.isPropertySignature);
  const named = (isOptional: boolean): string[] =>
    members
      .filter((member) => (member.questionToken !== undefined) === isOptional)
      .map((member) => member.name.getText(source));
  const inherited =
    found.heritageClauses?.flatMap(({ types }) => types.map((type) => type.getText(source))) ?? [];
  const pagination = inherited.includes('PaginationParams')
    ? ['ending_before', 'limit', 'starting_after']
    : [];
  return { required: named(false), optional: [...named(true), ...pagination] };
}

/** Inside out of modules and their blocks; a namespace that is not named first is looked into as well. */
function findInterface(node: ts.Node, names: readonly string[]): ts.InterfaceDeclaration | null {
  const [name, ...rest] = names;
  let found: ts.InterfaceDeclaration | null = null;
  ts.forEachChild(node, (child) => {
    if (found !== null) return;
    if (ts.isInterfaceDeclaration(child) && rest.length === 0 && child.name.text === name) found = child;
    else if (ts.isModuleBlock(child)) found = findInterface(child, names);
    else if (ts.isModuleDeclaration(child) && child.body !== undefined) {
      if (child.name.text !== name) found = findInterface(child.body, names);
      else if (rest.length > 0) found = findInterface(child.body, rest);
    }
  });
  return found;
}

/** The parameters that an operation of the simulator knows, or those inside one of them. */
export function operationMembers(
  method: string,
  route: string,
  nested: readonly string[],
): readonly string[] {
  const operation = STRIPE_OPERATIONS.find(
    (candidate) => candidate.method === method && candidate.path === route,
  );
  if (operation === undefined) throw new Error(`no operation ${method} ${route}`);
  const members = nested.reduce<Members>((all, name) => all[name]?.members ?? {}, operation.members);
  return Object.keys(members);
}
