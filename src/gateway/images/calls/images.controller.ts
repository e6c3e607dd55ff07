import type { Readable } from 'node:stream';
import {
  applyDecorators,
  Body,
  Controller,
  HttpCode,
  Post,
  Req,
  Res,
  createParamDecorator,
  type ExecutionContext,
} from '@nestjs/common';
import { ApiBody, ApiExtraModels, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { CurrentAccount, type AccountPrincipal } from '../../../identity/auth/principal.js';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import { ClientGone } from '../../../platform/http/connections.js';
import { IdempotencyKey, type Reply } from '../../../platform/http/routes.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { type LimitReport, Limits, RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { editBodies, EditImageForm, EditImageRequest } from '../edits/edit.dto.js';
import { ImageEditsService } from '../edits/image-edits.service.js';
import { InvalidRequestError } from '../../../platform/errors/common.errors.js';
import { ModelCatalogService } from '../../catalog/model-catalog.service.js';
import { ImageCallsService } from './image-calls.service.js';
import { CreateImageRequest, ImagesView } from './image.dto.js';
import { parseImageRequest, getImageModels } from './image-request.js';
import { CallingClient, type RetryingClient } from './caller.js';
import type { GenerationAnswer } from './generation-answer.js';

export const EDITS_PATH = '/v1/images/edits';

const text = (description: string, example: string) => ({
  description,
  schema: { type: 'string' as const },
  example,
});

/** Documents the headers of every answer of an image call. */
export const paidAnswerHeaders = {
  'x-generation-id': text('Id of the receipt.', 'gen_01KB2H7Q0000000000000000AA'),
  'x-billing-mode': text('`wallet`; `byok`: with your own provider key, for no charge; `free`.', 'wallet'),
  'x-fell-back-from': text(
    'The id of the refused call; only present when the wallet paid because your own provider key was refused.',
    'gen_01KB2H7Q0000000000000000AB',
  ),
  'x-charged-micros': text('What the call cost, in micro-USD.', '40000'),
  'x-wallet-available-micros': text(
    'What can be spent now, in micro-USD; absent on a replay and when no wallet is involved.',
    '9960000',
  ),
  'idempotent-replayed': text(
    '`true` when an earlier answer is repeated; nothing was charged again.',
    'true',
  ),
};

/** One to 128 visible ASCII characters are enough for a project's name or a customer's own id, and cheap to group by. */
const TAG_PATTERN = /^[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?$/;
export const TAG_HEADER = 'x-coffer-tag';

/**
 * Returns the tag that usage is grouped by in addition to model and key, or null when none was sent. Throws `InvalidRequestError`
 * for a malformed tag.
 */
export function parseCallTag(header: string | readonly string[] | undefined): string | null {
  if (header === undefined || header === '') return null;
  if (typeof header === 'string' && TAG_PATTERN.test(header)) return header;
  throw new InvalidRequestError(
    `${TAG_HEADER} must be 1 to 128 visible ASCII characters. Nothing was charged.`,
    TAG_HEADER,
  );
}

/** `@CallTag() tag: string | null` on a controller method. */
export const CallTag = createParamDecorator((_data: unknown, context: ExecutionContext) => {
  const request = context
    .switchToHttp()
    .getRequest<{ headers: Record<string, string | string[] | undefined> }>();
  return parseCallTag(request.headers[TAG_HEADER]);
});

/** The decorators that both routes have in common. */
function ImageCall(): MethodDecorator {
  return applyDecorators(
    HttpCode(200),
    RequireScope('generate'),
    RateLimited('image_calls', 'images', 'concurrent_image_calls'),
    ApiHeader({
      name: 'Idempotency-Key',
      required: false,
      description:
        'A key is charged at most once, without a time limit. When it is sent again with the same body, the first answer is ' +
        'repeated byte for byte as long as its images are kept (7 days, unless the operator chose another time); after that the ' +
        'call is refused with `idempotency_key_used`. A call that failed without a charge runs again.',
    }),
    ApiHeader({
      name: 'x-coffer-tag',
      required: false,
      description:
        'The tag by which `GET /v1/usage` groups the call, such as a project; 1 to 128 visible ASCII characters.',
    }),
    ApiOkResponse({ type: ImagesView, headers: paidAnswerHeaders }),
    ApiProblems(
      'invalid_request',
      'malformed_body',
      'invalid_size',
      'too_many_images',
      'unsupported_parameter',
      'content_policy_violation',
      'insufficient_credits',
      'key_limit_reached',
      'free_images_used_up',
      'wallet_frozen',
      'byok_key_rejected',
      'byok_upstream_insufficient_credits',
      'model_not_found',
      'idempotency_in_progress',
      'provider_key_attached',
      'images_deleted',
      'payload_too_large',
      'unsupported_media_type',
      'idempotency_key_reused',
      'idempotency_key_used',
      'images_deleted',
      'concurrency_limit_exceeded',
      'upstream_failed',
      'internal_error',
      'engine_saturated',
      'wallet_locked',
      'upstream_unavailable',
      'upstream_timeout',
      'provider_key_unreadable',
    ),
  );
}

@ApiTags('Images')
@Controller('v1/images')
export class ImagesController {
  constructor(
    private readonly calls: ImageCallsService,
    private readonly catalog: ModelCatalogService,
    private readonly edits: ImageEditsService,
  ) {}

  @Post('generations')
  @ApiOperation({
    operationId: 'createImage',
    summary: 'Make images',
    description:
      "OpenAI's `POST /v1/images/generations`. The price of all images is set aside, the delivered ones are charged, " +
      'and the rest is released. A call that fails costs nothing.',
  })
  @ImageCall()
  @ApiBody({ type: CreateImageRequest })
  async generate(
    @CurrentAccount() principal: AccountPrincipal,
    @IdempotencyKey() idempotencyKey: string | null,
    @CallTag() tag: string | null,
    @Limits() limits: LimitReport,
    @CallingClient() client: RetryingClient | null,
    @Req() { id: requestId }: { id: string },
    @Body() body: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<string | Buffer | Readable> {
    const caller = { principal, requestId, idempotencyKey, tag, limits, client };
    const wanted = parseImageRequest(body, getImageModels(await this.catalog.current()));
    const answer = await this.calls.create(wanted, caller);
    return toPaidAnswer(reply, answer);
  }

  @Post('edits')
  @ApiOperation({
    operationId: 'editImage',
    summary: 'Edit images',
    description:
      "OpenAI's `POST /v1/images/edits`: new images from up to four reference images and a prompt, as a form with files or " +
      'as JSON. It is charged like `POST /v1/images/generations`: by delivered image, regardless of its references. The ' +
      'references are neither stored nor logged; the body may have at most 32 MiB.',
    requestBody: editBodies,
  })
  @ApiExtraModels(EditImageForm, EditImageRequest)
  @ApiProblems('invalid_image', 'body_too_slow')
  @ImageCall()
  async edit(
    @CurrentAccount() principal: AccountPrincipal,
    @IdempotencyKey() idempotencyKey: string | null,
    @CallTag() tag: string | null,
    @Limits() limits: LimitReport,
    @CallingClient() client: RetryingClient | null,
    @ClientGone() gone: AbortSignal,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<string | Buffer | Readable> {
    const caller = { principal, requestId: request.id, idempotencyKey, tag, limits, client };
    const answer = await this.edits.edit(request, caller, gone);
    return toPaidAnswer(reply, answer);
  }
}

/** Sets the headers of the answer and returns its body. */
export function toPaidAnswer(reply: Reply, answer: GenerationAnswer): string | Buffer | Readable {
  reply.header('content-type', 'application/json; charset=utf-8');
  reply.header('x-generation-id', answer.generationId);
  reply.header('x-billing-mode', answer.billingMode);
  if (answer.fellBackFrom !== null) reply.header('x-fell-back-from', answer.fellBackFrom);
  reply.header('x-charged-micros', answer.chargedMicros.toString());
  if (answer.availableMicros !== null) {
    reply.header('x-wallet-available-micros', answer.availableMicros.toString());
  }
  if (answer.replayed) reply.header('idempotent-replayed', 'true');
  const { body } = answer;
  if (typeof body === 'string' || Buffer.isBuffer(body)) return body;
  reply.header('content-length', String(body.bytes));
  return body.stream;
}
