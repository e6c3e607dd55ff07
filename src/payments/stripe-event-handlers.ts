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

  /** @param types in the spelling of snapshot events, such as `checkout.session.completed`. */
  register(types: readonly string[], handler: StripeEventHandler): void {
    for (const type of types) {
      if (this.handlers.has(type)) throw new Error(`Stripe's ${type} is handled twice`);
      this.handlers.set(type, handler);
    }
  }

  /** Every type that somebody acts on. */
  types(): readonly string[] {
    return [...this.handlers.keys()];
  }

  find(type: string): StripeEventHandler | null {
    return this.handlers.get(type) ?? null;
  }
}
