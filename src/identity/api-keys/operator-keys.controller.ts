import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, type OperatorPrincipal } from '../auth/principal.js';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  CreateOperatorKeyRequest,
  IssuedOperatorKeyView,
  OperatorKeyListView,
  OperatorKeyView,
  RevokeKeyQuery,
  toIssuedOperatorKeyView,
  toNewApiKey,
  toOperatorKeyList,
  toOperatorKeyView,
} from './api-key.dto.js';
import { ApiKeysService } from './api-keys.service.js';

/** The keys of the platform's own programs. The one in `COFFER_OPERATOR_KEY` is missing here because it is not stored. */
@ApiTags('Operator keys')
@Controller('v1/operator_keys')
@RequireScope('admin')
export class OperatorKeysController {
  constructor(private readonly keys: ApiKeysService) {}

  @Post()
  @ApiOperation({
    operationId: 'createOperatorKey',
    summary: 'Make an operator key; its secret is shown once',
  })
  @ApiCreatedResponse({ type: IssuedOperatorKeyView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async create(
    @CurrentOperator() operator: OperatorPrincipal,
    @Body() body: CreateOperatorKeyRequest,
  ): Promise<IssuedOperatorKeyView> {
    return toIssuedOperatorKeyView(await this.keys.createOperatorKey(toNewApiKey(body), operator));
  }

  @Get()
  @ApiOperation({ operationId: 'listOperatorKeys', summary: 'List the operator keys, newest first' })
  @ApiOkResponse({ type: OperatorKeyListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(@Query() query: ListQuery): Promise<OperatorKeyListView> {
    return toOperatorKeyList('/v1/operator_keys', await this.keys.list(null, query.page));
  }

  @Get(':id')
  @ApiOperation({ operationId: 'retrieveOperatorKey', summary: 'Read an operator key, without its secret' })
  @ApiOkResponse({ type: OperatorKeyView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') id: string): Promise<OperatorKeyView> {
    return toOperatorKeyView(await this.keys.require(null, id));
  }

  @Delete(':id')
  @ApiOperation({
    operationId: 'revokeOperatorKey',
    summary: 'Revoke an operator key and the operator keys that it has made, for good',
  })
  @ApiOkResponse({ type: OperatorKeyView, description: 'Revoked; within one second no process accepts it.' })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async revoke(
    @Param('id') id: string,
    @Query() query: RevokeKeyQuery,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<OperatorKeyView> {
    return toOperatorKeyView(await this.keys.revoke(null, id, operator, query.withDescendants));
  }
}
