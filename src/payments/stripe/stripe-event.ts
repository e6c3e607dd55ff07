import { Stripe } from 'stripe';
import { InvalidEventError, InvalidSignatureError } from './payments.errors.js';

/** Stripe's own default. An older delivery is a replay, because Stripe signs every attempt again. */
const TOLERANCE_SECONDS = 300;
/** Clocks may differ by this much. A signature further in the future would stay valid for longer than the tolerance. */
const FUTURE_TOLERANCE_SECONDS = 60;

/** The part of a delivered event that is trusted: a hint that something happened to an object. */
export type StripeEvent = {
  readonly id: string;
  /** The type in the spelling of snapshot events, such as `checkout.session.completed`. */
  readonly type: string;
  readonly objectId: string | null;
  readonly livemode: boolean;
  /** The body exactly as it was received. */
  readonly payload: string;
};

export type Delivery = {
  readonly rawBody: Buffer | undefined;
  readonly signature: string | undefined;
  readonly nowMs: number;
};

export type Expected = { readonly webhookSecret: string; readonly livemode: boolean };

/**
 * Reads the event of a delivery. Throws `InvalidSignatureError` unless these bytes were signed with our secret within
 * the tolerance, and `InvalidEventError` when the signed body is not an event of our mode.
 */
export function readStripeEvent(delivery: Delivery, expected: Expected): StripeEvent {
  return readListedEvent(verifyPayload(delivery, expected.webhookSecret), expected.livemode);
}

/** Reads an event from Stripe's own list. It needs no signature, because Stripe's API returned it. Throws `InvalidEventError`. */
export function readListedEvent(payload: string, livemode: boolean): StripeEvent {
  const event = parseEvent(payload);
  if (event.livemode !== livemode) {
    throw new InvalidEventError(livemode ? 'it is of test mode' : 'it is of live mode', 'livemode');
  }
  return event;
}

function verifyPayload({ rawBody, signature, nowMs }: Delivery, secret: string): string {
  if (rawBody === undefined || signature === undefined) throw new InvalidSignatureError('missing');
  const payload = rawBody.toString('utf8');
  const verifier = Stripe.webhooks.signature;
  if (verifier === null) throw new Error('the Stripe SDK cannot verify signatures');
  try {
    verifier.verifyHeader(payload, signature, secret, TOLERANCE_SECONDS, undefined, nowMs);
  } catch (error) {
    throw new InvalidSignatureError(
      error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : 'invalid',
    );
  }
  // The SDK accepts times in the future and uses the last of several. A header of Stripe's has exactly one time.
  const times = [...signature.matchAll(/(?:^|,)t=([^,]*)/g)].map((match) => match[1] ?? '');
  const [time = ''] = times;
  if (times.length !== 1 || !/^\d{1,12}$/.test(time)) throw new InvalidSignatureError('malformed time');
  if (Number(time) > nowMs / 1_000 + FUTURE_TOLERANCE_SECONDS)
    throw new InvalidSignatureError('signed in the future');
  return payload;
}

type EventBody = {
  readonly id?: unknown;
  readonly object?: unknown;
  readonly type?: unknown;
  readonly livemode?: unknown;
  readonly data?: { readonly object?: { readonly id?: unknown } | null } | null;
  readonly related_object?: { readonly id?: unknown } | null;
};

/** Snapshot events contain the object, and thin ones (`v2.core.event`) only name it. Neither copy is trusted. */
function parseEvent(payload: string): StripeEvent {
  const body = JSON.parse(payload) as EventBody | null;
  const { id, object, type, livemode } = body ?? {};
  if (object !== 'event' && object !== 'v2.core.event')
    throw new InvalidEventError('its object is unknown', 'object');
  if (typeof id !== 'string' || !/^evt_[A-Za-z0-9_]{1,240}$/.test(id)) {
    throw new InvalidEventError('its id is malformed', 'id');
  }
  // Brackets occur, as in `v2.core.account[requirements].updated`. Types that no handler knows are stored as well.
  if (typeof type !== 'string' || !/^[A-Za-z0-9_.[\]-]{1,200}$/.test(type)) {
    throw new InvalidEventError('its type is malformed', 'type');
  }
  if (typeof livemode !== 'boolean') throw new InvalidEventError('it names no mode', 'livemode');
  const thin = object === 'v2.core.event';
  const objectId = thin ? body?.related_object?.id : body?.data?.object?.id;
  return {
    id,
    type: thin ? type.replace(/^v1\./, '') : type,
    objectId: typeof objectId === 'string' && /^[A-Za-z0-9_]{1,255}$/.test(objectId) ? objectId : null,
    livemode,
    payload,
  };
}
