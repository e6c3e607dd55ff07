import { ZERO } from '../../../../platform/common/money.js';
import type { Payment } from './payment.js';

/** A free model, or a call over the customer's own provider key: no wallet is read or written. */
export const freePayment: Payment = {
  authorize: () => Promise.resolve(),
  settle: (images) =>
    Promise.resolve({ holdFound: true, imagesPaid: images, chargedMicros: ZERO, availableMicros: null }),
};
