import { expect } from '@jest/globals';
import type { EditBody } from '../../../src/gateway/images/edits/edit-body.js';
import { readMultipartBody } from '../../../src/gateway/images/edits/multipart-body.js';
import { Problem } from '../../../src/platform/errors/problem.js';
import { FORM_TYPE, unread } from './edit-bodies.js';

export function readForm(body: Buffer, chunkBytes?: number, type = FORM_TYPE): Promise<EditBody> {
  return readMultipartBody(unread(body, type, chunkBytes));
}

/** How a body was refused; every refusal says that nothing was charged. */
export async function refusal(
  reading: Promise<unknown>,
): Promise<{ code: string; param: string | null; message: string }> {
  const error: unknown = await reading.then(
    () => new Error('it was accepted'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof Problem)) throw error;
  const { code, param, message } = error;
  expect(message).toContain('Nothing was charged.');
  return { code, param, message };
}
