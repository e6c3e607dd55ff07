import { Problem } from '../../platform/errors/problem.js';

/** 409: automatic charges could not collect the sales tax that is due. */
export class AutoTopUpUntaxedError extends Problem {
  readonly code = 'auto_top_up_untaxed';
  constructor() {
    super(
      'Sales tax is due on top-ups, and only payment pages collect it. Nothing was switched on or charged. Top up by hand instead.',
      { shouldRetry: false },
    );
  }
}

/** 409: no card is saved that could be charged without the customer. */
export class SavedCardMissingError extends Problem {
  readonly code = 'saved_card_missing';
  constructor() {
    super(
      'The account has no saved card to charge. Nothing was switched on. Make a top-up with `save_card`, pay it with ' +
        'a card, and then switch auto top-up on.',
      { shouldRetry: false },
    );
  }
}
