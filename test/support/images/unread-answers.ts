import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { toMediaPath } from '../../../src/gateway/images/media/media-store.js';
import { MODEL } from '../../fixtures/images.js';

/** Puts images of this size in the place of those that a call has stored: what it made may be small. */
export async function enlargeImages(
  dataDir: string,
  generationId: string,
  images: number,
  bytes: number,
): Promise<void> {
  for (let position = 0; position < images; position += 1) {
    const { folder, file } = toMediaPath({ generationId, position, format: 'png' });
    await writeFile(path.join(dataDir, 'media', folder, file), Buffer.alloc(bytes, position));
  }
}

export type ImageAnswer = {
  readonly apiKey: string;
  readonly idempotencyKey: string;
  readonly images: number;
};

export const bodyOf = (images: number): string =>
  JSON.stringify({
    model: MODEL,
    prompt: 'a fox',
    n: images,
    size: '64x64',
    response_format: 'b64_json',
    output_format: 'png',
  });

/** A client that sends this call, and of its answer reads no more than what comes first. */
export function neverRead(url: string, { apiKey, idempotencyKey, images }: ImageAnswer): Socket {
  const { port, hostname } = new URL(url);
  const body = bodyOf(images);
  const socket = connect(Number(port), hostname, () =>
    socket.write(
      `POST /v1/images/generations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n` +
        `idempotency-key: ${idempotencyKey}\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    ),
  );
  socket.once('data', () => socket.pause());
  socket.on('error', () => undefined);
  return socket;
}
