/** A debit on the wire, as the bare handlers take and answer it. */
export type DebitBody = {
  readonly account: string;
  readonly reference: string;
  readonly model: string;
  readonly images: number;
};

export const IMAGE_MICROS = 40_000;

export const DEBIT_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['account', 'reference', 'model', 'images'],
  properties: {
    account: { type: 'string', minLength: 1, maxLength: 64 },
    reference: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$' },
    model: { type: 'string', minLength: 1, maxLength: 200 },
    images: { type: 'integer', minimum: 1, maximum: 1_000 },
  },
} as const;

/** As many fields as the service answers with. */
export function debitAnswer({ account, reference, model, images }: DebitBody) {
  return {
    object: 'debit',
    id: `txn_${reference}`,
    account,
    reference,
    amount_micros: `${images * IMAGE_MICROS}`,
    model,
    images,
    price: 'price_1',
    replayed: false,
    created: Math.floor(Date.now() / 1_000),
    available_micros: '0',
    held_micros: '0',
    posted_micros: '0',
  };
}
