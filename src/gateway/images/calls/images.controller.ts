import type { Readable } from 'node:stream';
import { applyDecorators, Body, Controller, HttpCode, Post, Req, Res } from '@nestjs/common';
import { ApiBody, ApiExtraModels, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { CurrentAccount, type AccountPrincipal } from '../../../identity/auth/principal.js';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import { ClientGone } from '../../../platform/http/connection-answers.js';
import { IdempotencyKey, type Reply } from '../../../platform/http/idempotency.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { type LimitReport, Limits, RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { editBodies, EditImageForm, EditImageRequest } from '../edits/edit.dto.js';
import { ImageEdits } from '../edits/image-edits.service.js';
import { CallTag } from './call-tag.decorator.js';
import { ImageCalls } from './image-calls.service.js';
import { paidAnswerHeaders, toPaidAnswer } from './paid-answer-headers.js';
import { CreateImageRequest, ImagesView } from './image.dto.js';
import { parseImageRequest } from './image-request.js';
import { ImageModels } from './model-catalog.js';
import { CallingClient, type RetryingClient } from './retries/retrying-client.js';

export const EDITS_PATH = '/v1/images/edits';

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
    private readonly calls: ImageCalls,
    private readonly models: ImageModels,
    private readonly edits: ImageEdits,
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
    const wanted = parseImageRequest(body, await this.models.current());
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
