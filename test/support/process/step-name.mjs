/** What a process wrote to a socket in one go, in words, and the same for every payment and every image call. */
export function stepName(bytes) {
  const text = bytes.toString('latin1');
  const http = /^(?:(?:GET|POST|DELETE) [^ ?]*|HTTP\/1\.1 \d{3})/.exec(text)?.[0];
  const words = http ?? (statementsOf(bytes).join('; ') || 'connect');
  return words
    .replace(/\b[a-z]{2,6}_(?:test_)?\w{8,}\b/g, '…')
    .replace(/(?<=\/delivery\/)\S+/g, '…')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 100);
}

/** The statements in messages of Postgres's protocol: a type, a length, and what it says. */
function statementsOf(bytes) {
  const statements = [];
  let prepared = null;
  for (let at = 0; at + 5 <= bytes.length;) {
    const type = String.fromCharCode(bytes[at]);
    const end = at + 1 + bytes.readUInt32BE(at + 1);
    const [first = '', second = ''] = bytes.toString('latin1', at + 5, end).split('\0', 2);
    // Prepared and run, or run by the name under which it was prepared before.
    if (type === 'Q') statements.push(first);
    if (type === 'P') {
      statements.push(first === '' ? second : first);
      prepared = first;
    }
    if (type === 'p') statements.push('authenticate');
    if (type === 'B' && second !== prepared) statements.push(second);
    if (end <= at) break;
    at = end;
  }
  return statements;
}
