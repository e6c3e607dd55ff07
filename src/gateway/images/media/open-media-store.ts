import type { Settings } from '../../../platform/config/settings.js';
import { LocalMediaStore, type MediaStore } from './media-store.js';

/** Amazon's SDK takes a noticeable part of the start-up time, so it is loaded only when a bucket is configured. */
export async function openMediaStore(settings: Settings): Promise<MediaStore> {
  if (settings.s3 === null) return new LocalMediaStore(settings);
  const { S3MediaStore } = await import('./s3-media-store.js');
  return new S3MediaStore(settings.s3);
}
