import { randomBytes } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { Webhook } from 'standardwebhooks';
import { SealBrokenError, SealedBox, type Sealed } from '../../platform/common/sealed-box.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import type { WebhookEndpointEntity } from './webhook-endpoint.entity.js';

/** Standard Webhooks requires 24 to 64 bytes. */
const SECRET_BYTES = 32;
const SECRET_PREFIX = 'whsec_';
/** How long a receiver has to configure the new secret after a rotation. */
export const SECRET_OVERLAP_MS = 24 * 60 * 60_000;

type EndpointName = Pick<WebhookEndpointEntity, 'accountId' | 'id'>;
type EndpointSecrets = Pick<
  WebhookEndpointEntity,
  | 'accountId'
  | 'id'
  | 'secretBox'
  | 'secretKeyId'
  | 'previousSecretBox'
  | 'previousSecretKeyId'
  | 'previousSecretExpiresAt'
>;

/** The parts of one attempt that are signed. */
export type SignedMessage = { readonly id: string; readonly body: string; readonly atMs: number };

/** Creates, seals and uses the signing secrets of endpoints. A plain secret leaves this file only once, to be shown to its owner. */
@Injectable()
export class WebhookSecretsService {
  private readonly logger = new Logger(WebhookSecretsService.name);
  private readonly box: SealedBox;

  constructor(@Inject(SETTINGS) settings: Pick<Settings, 'masterKeys'>) {
    this.box = new SealedBox(settings.masterKeys, 'webhook secret');
  }

  /** Creates a secret, in plain text to be shown once and sealed for the row of this endpoint. */
  make(endpoint: EndpointName): { readonly secret: string; readonly sealed: Sealed } {
    const secret = `${SECRET_PREFIX}${randomBytes(SECRET_BYTES).toString('base64')}`;
    return { secret, sealed: this.box.seal(Buffer.from(secret), toSealedRowName(endpoint)) };
  }

  /**
   * Creates the `webhook-signature` header with the newest secret, and with the previous one until it expires. Throws
   * `SealBrokenError` when the secret cannot be opened, so that nothing is sent unsigned.
   */
  sign(endpoint: EndpointSecrets, { id, body, atMs }: SignedMessage): string {
    return this.openSecrets(endpoint, atMs)
      .map((secret) => new Webhook(secret).sign(id, new Date(atMs), body))
      .join(' ');
  }

  /** Null when there is no master key. */
  get newestKeyId(): string | null {
    return this.box.newestId;
  }

  /**
   * Returns the columns of an endpoint with its secrets sealed by the newest master key, or null when they already are. A
   * previous secret that cannot be opened is left unchanged: it signs nothing and expires. Throws `SealBrokenError` for the
   * current secret.
   */
  resealed(endpoint: EndpointSecrets): Partial<EndpointSecrets> | null {
    const { secretBox, secretKeyId, previousSecretBox, previousSecretKeyId } = endpoint;
    const secret = this.reseal(secretBox, secretKeyId, endpoint);
    let previous: Sealed | null = null;
    try {
      previous = this.reseal(previousSecretBox, previousSecretKeyId, endpoint);
    } catch (error) {
      if (!(error instanceof SealBrokenError)) throw error;
    }
    if (secret === null && previous === null) return null;
    return {
      ...(secret === null ? {} : { secretBox: secret.box, secretKeyId: secret.keyId }),
      ...(previous === null ? {} : { previousSecretBox: previous.box, previousSecretKeyId: previous.keyId }),
    };
  }

  private reseal(box: Buffer | null, keyId: string | null, endpoint: EndpointName): Sealed | null {
    if (box === null || keyId === null || this.box.isNewest({ keyId })) return null;
    return this.box.seal(this.box.open({ keyId, box }, toSealedRowName(endpoint)), toSealedRowName(endpoint));
  }

  private openSecrets(endpoint: EndpointSecrets, nowMs: number): string[] {
    const { secretBox, secretKeyId, previousSecretBox, previousSecretKeyId, previousSecretExpiresAt } =
      endpoint;
    if (secretBox === null || secretKeyId === null) throw new SealBrokenError('the endpoint was deleted');
    const newest = this.open({ keyId: secretKeyId, box: secretBox }, endpoint);
    if (previousSecretBox === null || previousSecretKeyId === null) return [newest];
    if (previousSecretExpiresAt === null || previousSecretExpiresAt.getTime() <= nowMs) return [newest];
    try {
      return [newest, this.open({ keyId: previousSecretKeyId, box: previousSecretBox }, endpoint)];
    } catch (error) {
      // After a master key was lost, a rotation repairs the endpoint. The unreadable old secret must not stop the new one.
      this.logger.warn(
        { event: 'webhook_secret.unreadable', endpoint: endpoint.id, err: error },
        'The previous secret of a webhook endpoint cannot be opened; deliveries are signed with the new one only',
      );
      return [newest];
    }
  }

  private open(sealed: Sealed, endpoint: EndpointName): string {
    return this.box.open(sealed, toSealedRowName(endpoint)).toString();
  }
}

function toSealedRowName({ accountId, id }: EndpointName): string {
  return `webhook_endpoints/${accountId}/${id}`;
}
