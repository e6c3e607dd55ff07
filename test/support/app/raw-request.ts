import { connect } from 'node:net';

export type RawAnswer = { readonly status: number; readonly code: unknown };

/** Announces the largest body; what follows is its first byte, and no more comes. */
export const BODY_TO_COME = 'content-type: application/json\r\ncontent-length: 1048576\r\n\r\n{';

/** Sends these bytes and no end to them, and resolves with the status and the error's code of the answer. */
export function beginRequest(baseUrl: string, bytes: string): Promise<RawAnswer> {
  const { port, hostname } = new URL(baseUrl);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString();
      const [head = '', body = ''] = received.split('\r\n\r\n');
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? NaN);
      if (Number.isNaN(length) || Buffer.byteLength(body) < length) return;
      socket.destroy();
      const { error } = JSON.parse(body) as { error?: { code?: unknown } };
      resolve({ status: Number(head.slice(9, 12)), code: error?.code });
    });
    socket.on('close', () => reject(new Error(`closed after: ${received}`)));
    socket.on('error', reject);
  });
}
