/**
 * What `nest generate` writes here: Nest's own schematics, put into the form that this project compiles and lints.
 * `@nestjs/schematics` 11 writes CommonJS without strict types; version 12 writes ES modules and needs Node 22.
 */
import { chain, externalSchematic } from '@angular-devkit/schematics';
import prettier from 'prettier';

/** Of every schematic in `collection.json`: Nest's schematic of the same name. */
export function generate(options) {
  return (_tree, { schematic }) =>
    chain([externalSchematic('@nestjs/schematics', schematic.description.name, options), writeAsHere]);
}

const TYPES =
  /\b(ArgumentMetadata|ArgumentsHost|CallHandler|CanActivate|ExceptionFilter|ExecutionContext|NestInterceptor|NestMiddleware|Observable|PipeTransform)\b/g;
/** ES modules are imported by the name of the compiled file. */
const IMPORT_WITHOUT_EXTENSION = /(?<= from ')(\.{1,2}\/[^']*)(?<!\.js)(?=')/g;
const NEW_FILE_REPLACEMENTS = [
  // With `verbatimModuleSyntax`, an imported type says that it is one.
  [/^import \{.*\}/gm, (names) => names.replace(TYPES, 'type $1')],
  [/\bany\b/g, 'unknown'],
  // Parameters that the skeleton does not use yet.
  [/\b(context|exception|host|metadata|req|res)(?=: )/g, '_$1'],
];

async function writeAsHere(tree) {
  const format = await prettier.resolveConfig(import.meta.filename);
  for (const { kind, path } of tree.actions) {
    if (kind === 'd' || !path.endsWith('.ts')) continue;
    let text = tree.readText(path).replace(IMPORT_WITHOUT_EXTENSION, '$1.js');
    // Kind `c` is a file that was created; the other is the module that imports it.
    for (const [from, to] of kind === 'c' ? NEW_FILE_REPLACEMENTS : []) text = text.replace(from, to);
    tree.overwrite(path, await prettier.format(text, { ...format, parser: 'typescript' }));
  }
}
