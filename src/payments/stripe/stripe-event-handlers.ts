import { Injectable } from '@nestjs/common';

export type StripeEventHint = { readonly id: string; readonly type: string; readonly objectId: string };

/**
 * Handles one event. Events arrive late, more than once, in any order and with a stale copy of their object, so a
 * handler reads the object from Stripe and is idempotent. When it throws, it is called again later.
 */
export type StripeEventHandler = (event: StripeEventHint) => Promise<void>;

/** The handlers of each type of event. Modules register theirs while Nest builds them. */
@Injectable()
export class StripeEventHandlers {
  private readonly handlers = new Map<string, StripeEventHandler>();
  private readonly followers = new Map<string, StripeEventHandler[]>();

  /** @param types in the spelling of snapshot events, such as `checkout.session.completed`. */
  register(types: readonly string[], handler: StripeEventHandler): void {
    for (const type of types) {
      if (this.handlers.has(type)) throw new Error(`Stripe's ${type} is handled twice`);
      this.handlers.set(type, handler);
    }
  }

  /**
   * Registers a follower, which is called in addition to the handler. A follower finds missed events by other means,
   * because the gap fill does not search for types that only followers have.
   */
  follow(types: readonly string[], follower: StripeEventHandler): void {
    for (const type of types) this.followers.set(type, [...(this.followers.get(type) ?? []), follower]);
  }

  /** Every type that has a handler. */
  types(): readonly string[] {
    return [...this.handlers.keys()];
  }

  find(type: string): StripeEventHandler | null {
    const handler = this.handlers.get(type);
    const followers = this.followers.get(type);
    if (followers === undefined) return handler ?? null;
    return async (event) => {
      await handler?.(event);
      for (const follow of followers) await follow(event);
    };
  }
}
