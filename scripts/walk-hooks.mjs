/**
 * The hooks that `count-walk.ts` runs under: every function of `src/` notes, when it is called, the file that it is in. Compiled as the
 * tests compile it (`test/support/typescript-hooks.mjs`).
 */
import ts from 'typescript';
import { fileURLToPath, URL } from 'node:url';
import { load as loadPlain, resolve } from '../test/support/typescript-hooks.mjs';

export { resolve };

const SOURCES = new URL('../src/', import.meta.url).href;

export async function load(url, context, nextLoad) {
  const loaded = await loadPlain(url, context, nextLoad);
  if (!url.startsWith(SOURCES) || !url.endsWith('.ts')) return loaded;
  return {
    ...loaded,
    source: noting(String(loaded.source), fileURLToPath(url).slice(fileURLToPath(SOURCES).length)),
  };
}

function noting(source, file) {
  const parsed = ts.createSourceFile('source.js', source, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const { factory } = ts;
  const note = () =>
    factory.createExpressionStatement(
      factory.createCallChain(
        factory.createPropertyAccessExpression(factory.createIdentifier('globalThis'), 'noteWalk'),
        factory.createToken(ts.SyntaxKind.QuestionDotToken),
        undefined,
        [factory.createStringLiteral(file)],
      ),
    );
  const visitor = (context) => {
    const visit = (node) => {
      const seen = ts.visitEachChild(node, visit, context);
      if (!ts.isFunctionLike(seen) || seen.body === undefined) return seen;
      const body = ts.isBlock(seen.body)
        ? withNote(factory, seen.body, note())
        : factory.createBlock([note(), factory.createReturnStatement(seen.body)], true);
      return withBody(factory, seen, body);
    };
    return (node) => ts.visitNode(node, visit);
  };
  const { transformed } = ts.transform(parsed, [visitor]);
  return ts.createPrinter().printFile(transformed[0]);
}

/** A constructor of a subclass may touch nothing of itself before `super()`; a note touches nothing. */
function withNote(factory, block, note) {
  return factory.updateBlock(block, [note, ...block.statements]);
}

function withBody(factory, node, body) {
  if (ts.isFunctionDeclaration(node))
    return factory.updateFunctionDeclaration(
      node,
      node.modifiers,
      node.asteriskToken,
      node.name,
      undefined,
      node.parameters,
      undefined,
      body,
    );
  if (ts.isFunctionExpression(node))
    return factory.updateFunctionExpression(
      node,
      node.modifiers,
      node.asteriskToken,
      node.name,
      undefined,
      node.parameters,
      undefined,
      body,
    );
  if (ts.isArrowFunction(node))
    return factory.updateArrowFunction(
      node,
      node.modifiers,
      undefined,
      node.parameters,
      undefined,
      node.equalsGreaterThanToken,
      body,
    );
  if (ts.isMethodDeclaration(node))
    return factory.updateMethodDeclaration(
      node,
      node.modifiers,
      node.asteriskToken,
      node.name,
      undefined,
      undefined,
      node.parameters,
      undefined,
      body,
    );
  if (ts.isConstructorDeclaration(node))
    return factory.updateConstructorDeclaration(node, node.modifiers, node.parameters, body);
  if (ts.isGetAccessorDeclaration(node))
    return factory.updateGetAccessorDeclaration(
      node,
      node.modifiers,
      node.name,
      node.parameters,
      undefined,
      body,
    );
  if (ts.isSetAccessorDeclaration(node))
    return factory.updateSetAccessorDeclaration(node, node.modifiers, node.name, node.parameters, body);
  return node;
}
