import { ApiProperty } from '@nestjs/swagger';
import { MicroUsdView, ObjectTypeView, TimeView } from '../../../platform/common/fields.js';
import { KEYED_PROVIDERS, type KeyedProvider } from '../../provider-keys/provider-key.js';
import type { KeyCheck } from '../providers/image-provider.js';

const OUTCOMES = ['accepted', 'no_credit', 'rejected', 'unreachable'] as const;

export class ProviderKeyTestView {
  @ObjectTypeView('provider_key_test')
  declare readonly object: 'provider_key_test';
  @ApiProperty({ description: 'The provider that was asked.', enum: KEYED_PROVIDERS })
  declare readonly provider: string;
  @ApiProperty({
    description:
      '`accepted`: calls will work; `no_credit`: the key is valid, but its account at the provider has no credit; `rejected`: ' +
      'the provider refuses the key; `unreachable`: the provider gave no answer, so the result is unknown.',
    enum: OUTCOMES,
  })
  declare readonly outcome: (typeof OUTCOMES)[number];
  @MicroUsdView('Credit left on the account at the provider; null when it did not say.', '12500000')
  declare readonly upstream_credit_micros: string | null;
  @TimeView('When it was asked, Unix seconds.')
  declare readonly tested_at: number;
}

export function toProviderKeyTestView(
  provider: KeyedProvider,
  check: KeyCheck,
  nowMs: number,
): ProviderKeyTestView {
  const credit = check.outcome === 'accepted' ? check.creditMicros : null;
  return {
    object: 'provider_key_test',
    provider,
    outcome: credit === 0n ? 'no_credit' : check.outcome,
    upstream_credit_micros: credit === null ? null : credit.toString(),
    tested_at: Math.floor(nowMs / 1_000),
  };
}
