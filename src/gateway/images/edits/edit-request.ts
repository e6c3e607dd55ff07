import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import {
  parseCommon,
  type CommonParameters,
  type ImageRequest,
  parseSize,
  sizeLike,
  type ImageSize,
  textOrNull,
  type ImageModelList,
} from '../calls/image-request.js';
import type { EditBody } from './edit-body.js';
import { tooManyReferences } from './edit.errors.js';
import type { Reference } from './reference.js';

/** An edit whose parameters are valid; its images are not decoded yet. */
export type EditDraft = CommonParameters & {
  /** Null for `auto`, when the first reference decides. */
  readonly size: ImageSize | null;
};

/** Pure. Throws `InvalidRequestError` naming the first wrong parameter, and `ModelNotFoundError` (404). */
export function parseEdit(body: EditBody, models: Pick<ImageModelList, 'list' | 'require'>): EditDraft {
  const { members, images, imagesName } = body;
  const common = parseCommon(members, 'edit', models);
  const { model } = common;
  if (model.referencesMax === 0) {
    const able = models.list().filter(({ referencesMax }) => referencesMax > 0);
    throw new InvalidRequestError(
      `${model.id} makes images from text only. ${whichEdit(able.map(({ id }) => id))} Nothing was charged.`,
      'model',
      'unsupported_parameter',
    );
  }
  if (images.length === 0) {
    throw new InvalidRequestError(
      `${imagesName} is required: at least one image. Nothing was charged.`,
      imagesName,
    );
  }
  if (images.length > model.referencesMax) {
    throw tooManyReferences(imagesName, images.length, model.referencesMax);
  }
  const size = textOrNull(members, 'size');
  return { ...common, size: size === null || size === 'auto' ? null : parseSize(size, model.size) };
}

/** @param references at least one. */
export function completeEdit(draft: EditDraft, references: readonly Reference[]): ImageRequest {
  const [first] = references;
  if (first === undefined) throw new Error('an edit has at least one reference');
  const size = draft.size ?? sizeLike(first.displayed, draft.model.size);
  return { ...draft, operation: 'edit', size, references };
}

function whichEdit(ids: readonly string[]): string {
  return ids.length === 0 ? 'No model here edits images.' : `These edit images: ${ids.join(', ')}.`;
}
