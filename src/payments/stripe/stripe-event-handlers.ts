import { Injectable } from '@nestjs/common';

export type StripeEventHint = { readonly id: string; readonly type: string; readonly objectId: string };

/**
 * Acts on what an event hints at. Events come late, twice, in any order and carry a stale copy of their
 * object: a handler reads the object from Stripe and is idempotent. Throwing means "again later".
 */
export type StripeEventHandler = (event: StripeEventHint) => Promise<void>;

/** Who acts on which type of event. Modules register their handlers while Nest builds them. */
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
   * For who only wants to know that something moved, beside the one who acts on it, and finds what it misses by other
   * means: its types are not among those that the gap fill looks for.
   */
  follow(types: readonly string[], follower: StripeEventHandler): void {
    for (const type of types) this.followers.set(type, [...(this.followers.get(type) ?? []), follower]);
  }

  /** Every type that somebody acts on. */
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
