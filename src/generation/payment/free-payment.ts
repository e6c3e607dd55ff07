import { ZERO } from '../../common/money.js';
import type { Payment } from './payment.js';

/** A model that costs nothing: no wallet is read or written. */
export const freePayment: Payment = {
  authorize: () => Promise.resolve(),
  settle: (images) =>
    Promise.resolve({ holdFound: true, imagesPaid: images, chargedMicros: ZERO, availableMicros: null }),
};
