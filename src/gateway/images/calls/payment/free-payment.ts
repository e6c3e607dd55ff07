import { ZERO } from '../../../../platform/common/money.js';
import type { Payment } from './payment.js';

/** The payment of free models and of BYOK calls. It neither reads nor writes a wallet. */
export const freePayment: Payment = {
  authorize: () => Promise.resolve(),
  settle: (images) =>
    Promise.resolve({ holdFound: true, imagesPaid: images, chargedMicros: ZERO, availableMicros: null }),
};
