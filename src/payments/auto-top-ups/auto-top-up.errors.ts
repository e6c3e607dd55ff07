import { Problem } from '../../platform/errors/problem.js';

/** 409: the tax that is due could not be collected. */
export class AutoTopUpUntaxedError extends Problem {
  readonly code = 'auto_top_up_untaxed';
  constructor() {
    super(
      'Sales tax is due on top-ups, and it is collected on payment pages only. Nothing was switched on. Top up by hand.',
      { shouldRetry: false },
    );
  }
}

/** 409: there is no card to charge while the customer is not there. */
export class SavedCardMissingError extends Problem {
  readonly code = 'saved_card_missing';
  constructor() {
    super(
      'No card is saved that could be charged. Nothing was switched on. Make a top-up with `save_card`, pay it with ' +
        'a card, and switch auto top-up on then.',
      { shouldRetry: false },
    );
  }
}
