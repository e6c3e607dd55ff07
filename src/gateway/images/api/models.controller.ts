import { Controller, Get, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { ModelCatalogService } from '../../catalog/model-catalog.service.js';
import { getImageModels } from '../calls/image-request.js';
import { ModelListView, toModelView, ModelView } from './model.dto.js';

@ApiTags('Models')
@Controller('v1/models')
export class ModelsController {
  constructor(private readonly catalog: ModelCatalogService) {}

  @Get()
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'listModels', summary: 'List the models' })
  @ApiOkResponse({ type: ModelListView })
  async list(): Promise<ModelListView> {
    const models = getImageModels(await this.catalog.current());
    return { object: 'list', data: models.list().map(toModelView) };
  }

  /** The path has a wildcard because ids contain a slash, which OpenAI's SDKs send as `%2F` and people send unchanged. */
  @Get('*')
  @RequireScope('generate')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'retrieveModel', summary: 'Read a model' })
  @ApiParam({
    name: 'path',
    description: 'Id of the model, its slash as it is or as `%2F`.',
    example: 'black-forest-labs/flux-2-klein-9b',
  })
  @ApiOkResponse({ type: ModelView })
  @ApiProblems('model_not_found')
  async retrieve(@Param('*') id: string): Promise<ModelView> {
    const models = getImageModels(await this.catalog.current());
    return toModelView(models.require(id));
  }
}
