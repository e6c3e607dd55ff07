import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentOperator, type OperatorPrincipal } from '../auth/principal.js';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  AccountListView,
  AccountView,
  CreateAccountRequest,
  toAccountList,
  toAccountView,
} from './account.dto.js';
import { AccountsService } from './accounts.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts')
@RequireScope('admin')
export class AccountsController {
  constructor(private readonly accounts: AccountsService) {}

  @Post()
  @ApiOperation({ operationId: 'createAccount', summary: 'Create a customer' })
  @ApiCreatedResponse({ type: AccountView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async create(
    @Body() { name }: CreateAccountRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<AccountView> {
    return toAccountView(await this.accounts.create(name, operator));
  }

  @Get()
  @ApiOperation({ operationId: 'listAccounts', summary: 'List the customers, newest first' })
  @ApiOkResponse({ type: AccountListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(@Query() query: ListQuery): Promise<AccountListView> {
    return toAccountList(await this.accounts.list(query.page));
  }

  @Get(':id')
  @ApiOperation({ operationId: 'retrieveAccount', summary: 'Read a customer' })
  @ApiOkResponse({ type: AccountView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') id: string): Promise<AccountView> {
    return toAccountView(await this.accounts.require(id));
  }
}
