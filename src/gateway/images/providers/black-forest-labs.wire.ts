import type { MicroUsd } from '../../../platform/common/money.js';
import type { ProviderRequest, ProviderTask, ReferenceImage } from './image-provider.js';
import { creditsToMicros } from './credits.js';
import { members, readRetryAfter } from './read-answer.js';

/** This file writes and reads the documents of Black Forest Labs' API that are used here. */

/** OpenAI's `moderation` as the provider's tolerance: 0 is strict, 5 the most tolerant, 2 the default. */
const SAFETY_TOLERANCE = { auto: 2, low: 4 } as const;

/** The provider's own limit for URLs. A task id is a UUID. */
const URL_CHARS_MAX = 2_083;
const TASK_ID_CHARS_MAX = 300;

/** The names in the customer's order, because prompts refer to "the first image". */
const INPUT_IMAGES = ['input_image', 'input_image_2', 'input_image_3', 'input_image_4'] as const;

export function toSubmitBody(request: ProviderRequest): string {
  return JSON.stringify({
    prompt: request.prompt,
    width: request.width,
    height: request.height,
    ...(request.outputFormat === null ? {} : { output_format: request.outputFormat }),
    safety_tolerance: SAFETY_TOLERANCE[request.moderation],
    ...inputImages(request.references),
  });
}

/** Throws for more references than there are names, because omitting one would charge for an image that was not asked for. */
function inputImages(references: readonly ReferenceImage[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    references.map((reference, index) => {
      const name = INPUT_IMAGES[index];
      if (name === undefined) throw new RangeError(`no more than ${INPUT_IMAGES.length} references`);
      return [name, toBase64(reference)];
    }),
  );
}

const encoded = new WeakMap<ReferenceImage, string>();

/** Encodes each reference once for all images of a call, which are separate requests with the same references. */
function toBase64(reference: ReferenceImage): string {
  const known = encoded.get(reference);
  if (known !== undefined) return known;
  const base64 = reference.bytes.toString('base64');
  encoded.set(reference, base64);
  return base64;
}

/** Returns null when the answer names no task. */
export function readTask(body: unknown): ProviderTask | null {
  const { id, polling_url: pollingUrl, cost } = members(body);
  if (!isText(id, TASK_ID_CHARS_MAX) || !isText(pollingUrl, URL_CHARS_MAX)) return null;
  return { taskId: id, pollingUrl, costMicros: creditsToMicros(cost) };
}

/** Returns the credit that is left on the account, in micro-USD; null when the answer does not name it. */
export function readCredit(body: unknown): MicroUsd | null {
  return creditsToMicros(members(body)['credits']);
}

export type TaskState =
  | { readonly state: 'pending' | 'not_found' | 'failed' }
  | { readonly state: 'moderated'; readonly reasons: string }
  | { readonly state: 'ready'; readonly sampleUrl: string };

/** An unknown status, which the provider may add one day, counts as pending; the call's deadline limits the wait. */
export function readTaskState(body: unknown): TaskState {
  const { status, result, details } = members(body);
  switch (status) {
    case 'Ready': {
      const { sample } = members(result);
      return isText(sample, URL_CHARS_MAX) ? { state: 'ready', sampleUrl: sample } : { state: 'failed' };
    }
    case 'Request Moderated':
    case 'Content Moderated':
      return { state: 'moderated', reasons: toText(members(details)['Moderation Reasons']) };
    case 'Error':
    case 'Failed':
      return { state: 'failed' };
    case 'Task not found':
      return { state: 'not_found' };
    default:
      return { state: 'pending' };
  }
}

/** The names of the customer's own parameters in our API. Only complaints about these are shown to the customer. */
const CUSTOMER_FIELDS: Readonly<Record<string, string>> = {
  prompt: 'prompt',
  width: 'size',
  height: 'size',
  output_format: 'output_format',
  safety_tolerance: 'moderation',
  ...Object.fromEntries(INPUT_IMAGES.map((name) => [name, 'image'])),
};
const COMPLAINT_CHARS_MAX = 200;

/** Returns what a 422 says about the customer's parameters, such as `size: too wide`; null when it does not mention them. */
export function readComplaint(body: unknown): string | null {
  const { detail } = members(body);
  for (const item of Array.isArray(detail) ? (detail as unknown[]) : []) {
    const { loc, msg } = members(item);
    const field: unknown = Array.isArray(loc) ? loc.at(-1) : undefined;
    const name =
      typeof field === 'string' && Object.hasOwn(CUSTOMER_FIELDS, field) ? CUSTOMER_FIELDS[field] : undefined;
    if (name !== undefined && typeof msg === 'string') return `${name}: ${msg.slice(0, COMPLAINT_CHARS_MAX)}`;
  }
  return null;
}

/** Returns the text of an error body for our log: `detail`, else `message`, else `error`. */
export function readErrorText(body: unknown): string {
  const { detail, message, error } = members(body);
  return toText(detail ?? message ?? error).slice(0, COMPLAINT_CHARS_MAX);
}

/** Returns whole seconds from 1 to 60; null when neither the header nor the body names them. */
export function readRetryAfterSeconds(header: unknown, body: unknown): number | null {
  return readRetryAfter(header ?? members(body)['retry_after']);
}

function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= charsMax && !value.includes('\0');
}

function toText(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}
