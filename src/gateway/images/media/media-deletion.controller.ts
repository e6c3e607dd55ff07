import { Controller, Delete, HttpCode, Param } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiProperty, ApiTags } from '@nestjs/swagger';
import {
  CurrentAccount,
  CurrentOperator,
  type AccountPrincipal,
  type OperatorPrincipal,
} from '../../../identity/auth/principal.js';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import { ObjectTypeView } from '../../../platform/common/fields.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { MediaDeletionService } from './media-deletion.service.js';

export class DeletedImagesView {
  @ObjectTypeView('generation.images')
  declare readonly object: 'generation.images';
  @ApiProperty({ description: 'The call.', example: 'gen_01KB2H7Q0000000000000000AA' })
  declare readonly generation: string;
  @ApiProperty({ description: 'The images are deleted.', enum: [true] })
  declare readonly deleted: true;
  @ApiProperty({ description: 'How many images the call had delivered.', type: 'integer', example: 1 })
  declare readonly images: number;
}

export class AccountImagesDeletionView {
  @ObjectTypeView('account.images')
  declare readonly object: 'account.images';
  @ApiProperty({ example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({
    description: 'A job deletes the images that the account has at this moment.',
    enum: ['deleting'],
  })
  declare readonly status: 'deleting';
}

@ApiTags('Images')
@Controller('v1')
export class MediaDeletionController {
  constructor(private readonly deletion: MediaDeletionService) {}

  @Delete('generations/:id/images')
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({
    operationId: 'deleteGenerationImages',
    summary: 'Delete the images of a call now',
    description:
      'Afterwards their URLs answer 404, and the call can no longer be replayed by its `Idempotency-Key` (410). ' +
      'The receipt and the charge stay. The request may be repeated.',
  })
  @ApiOkResponse({ type: DeletedImagesView })
  @ApiProblems('resource_missing', 'generation_running', 'media_unavailable', 'database_unavailable')
  async deleteImages(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<DeletedImagesView> {
    const images = await this.deletion.deleteImages({ accountId: principal.accountId, id }, principal);
    return { object: 'generation.images', generation: id, deleted: true, images };
  }

  @Delete('accounts/:id/images')
  @HttpCode(202)
  @RequireScope('admin')
  @ApiOperation({
    operationId: 'deleteAccountImages',
    summary: 'Delete every image that a customer has',
    description: 'Receipts and charges stay. Images of calls that are still running are not deleted.',
  })
  @ApiAcceptedResponse({ type: AccountImagesDeletionView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async deleteAccountImages(
    @Param('id') account: string,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<AccountImagesDeletionView> {
    await this.deletion.deleteAccountImages(account, operator);
    return { object: 'account.images', account, status: 'deleting' };
  }
}
