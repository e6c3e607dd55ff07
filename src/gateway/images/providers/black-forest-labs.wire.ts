import type { MicroUsd } from '../../../platform/common/money.js';
import type { ProviderRequest, ProviderTask, ReferenceImage } from './image-provider.js';
import { creditsToMicros } from './credits.js';
import { members, readRetryAfter } from './read-answer.js';

/** The two documents of Black Forest Labs that we send and read, and nothing else of its API. */

/** OpenAI's `low` moderation; 0 is strict, 5 the most tolerant, 2 the provider's default. */
const SAFETY_TOLERANCE = { auto: 2, low: 4 } as const;

/** The provider's own bound for URLs; a task id is a UUID. */
const URL_CHARS_MAX = 2_083;
const TASK_ID_CHARS_MAX = 300;

/** In the customer's order: prompts say "the first image". */
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

/** Throws for more references than there are names: leaving one out would charge for another image. */
function inputImages(references: readonly ReferenceImage[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    references.map((reference, index) => {
      const name = INPUT_IMAGES[index];
      if (name === undefined) throw new RangeError(`no more than ${INPUT_IMAGES.length} references`);
      return [name, base64Of(reference)];
    }),
  );
}

const encoded = new WeakMap<ReferenceImage, string>();

/** Once for all images of a call: each goes out in a request of its own, with the same references. */
function base64Of(reference: ReferenceImage): string {
  const known = encoded.get(reference);
  if (known !== undefined) return known;
  const base64 = reference.bytes.toString('base64');
  encoded.set(reference, base64);
  return base64;
}

/** Null when the answer names no task. */
export function readTask(body: unknown): ProviderTask | null {
  const { id, polling_url: pollingUrl, cost } = members(body);
  if (!isText(id, TASK_ID_CHARS_MAX) || !isText(pollingUrl, URL_CHARS_MAX)) return null;
  return { taskId: id, pollingUrl, costMicros: creditsToMicros(cost) };
}

/** What is left on the account, in micro-USD; null when the answer does not say. */
export function readCredit(body: unknown): MicroUsd | null {
  return creditsToMicros(members(body)['credits']);
}

export type TaskState =
  | { readonly state: 'pending' | 'not_found' | 'failed' }
  | { readonly state: 'moderated'; readonly reasons: string }
  | { readonly state: 'ready'; readonly sampleUrl: string };

/** A status that the provider may add one day counts as pending: the call's deadline bounds it. */
export function readTaskState(body: unknown): TaskState {
  const { status, result, details } = members(body);
  switch (status) {
    case 'Ready': {
      const { sample } = members(result);
      return isText(sample, URL_CHARS_MAX) ? { state: 'ready', sampleUrl: sample } : { state: 'failed' };
    }
    case 'Request Moderated':
    case 'Content Moderated':
      return { state: 'moderated', reasons: textOf(members(details)['Moderation Reasons']) };
    case 'Error':
    case 'Failed':
      return { state: 'failed' };
    case 'Task not found':
      return { state: 'not_found' };
    default:
      return { state: 'pending' };
  }
}

/** The customer's own parameters, in our words; only complaints about these are the customer's to read. */
const CUSTOMER_FIELDS: Readonly<Record<string, string>> = {
  prompt: 'prompt',
  width: 'size',
  height: 'size',
  output_format: 'output_format',
  safety_tolerance: 'moderation',
  ...Object.fromEntries(INPUT_IMAGES.map((name) => [name, 'image'])),
};
const COMPLAINT_CHARS_MAX = 200;

/** What a 422 says about the customer's parameters, such as `size: too wide`; null when it says nothing of them. */
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

/** Whatever an error body says, for our log: `detail`, then `message`, then `error`. */
export function readErrorText(body: unknown): string {
  const { detail, message, error } = members(body);
  return textOf(detail ?? message ?? error).slice(0, COMPLAINT_CHARS_MAX);
}

/** Whole seconds from 1 to 60; null when neither the header nor the body says. */
export function readRetryAfterSeconds(header: unknown, body: unknown): number | null {
  return readRetryAfter(header ?? members(body)['retry_after']);
}

function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= charsMax && !value.includes('\0');
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}
