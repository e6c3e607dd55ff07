import type { ApiMedia, PlacedOperation } from './api-document.js';
import type { Schemas } from './schema-fields.js';

/** Returns a command that calls the operation with its required fields. Pure. */
export function curlFor(placed: PlacedOperation, schemas: Schemas, publicUrl: string): string {
  const { method, path, operation } = placed;
  const { parameters = [], requestBody, security = [] } = operation;
  const query = parameters
    .filter((parameter) => parameter.in === 'query' && parameter.required === true)
    .map(({ name, schema }) => `${name}=${encodeURIComponent(String(schemas.example(schema, true)))}`);
  const address = `${publicUrl}${path}${query.length === 0 ? '' : `?${query.join('&')}`}`;
  const verb = method === 'get' ? '' : `-X ${method.toUpperCase()} `;
  const [scheme] = Object.keys(security[0] ?? {});
  const lines = [
    `curl ${verb}${quoted(address)}`,
    ...(scheme === undefined
      ? []
      : [
          `-H "Authorization: Bearer $${scheme === 'operator_key' ? 'COFFER_OPERATOR_KEY' : 'COFFER_API_KEY'}"`,
        ]),
    ...toBody(requestBody?.content ?? {}, schemas),
  ];
  return lines.join(' \\\n  ');
}

function toBody(content: Readonly<Record<string, ApiMedia>>, schemas: Schemas): string[] {
  const json = content['application/json'];
  const form = content['multipart/form-data'];
  if (form !== undefined) {
    const { properties = {}, required = [] } = schemas.resolve(form.schema);
    return required.map((name) => {
      const isFile = properties[name]?.items?.format === 'binary' || properties[name]?.format === 'binary';
      return `-F ${isFile ? `${name}=@${name}.png` : quoted(`${name}=${String(schemas.example(properties[name], true))}`)}`;
    });
  }
  if (json === undefined) return [];
  return [
    "-H 'Content-Type: application/json'",
    `-d ${quoted(JSON.stringify(schemas.example(json.schema, true) ?? {}))}`,
  ];
}

/** Quotes a word for a POSIX shell. Plain words stay unchanged. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
