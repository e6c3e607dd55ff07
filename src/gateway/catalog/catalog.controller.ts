import { applyDecorators, Controller, Get, Header, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { Public } from '../../platform/http/routes.js';
import { ModelNotFoundError } from '../../money/pricing/pricing.errors.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { findPriced, type CatalogData, type PricedModel } from './catalog-data.js';
import { CatalogReaderService } from './catalog-reader.service.js';
import {
  CatalogCollectionQuery,
  CatalogComparisonQuery,
  CatalogModelListView,
  CatalogModelsQuery,
  CatalogModelView,
  PricingView,
  RankingView,
  toCatalogModelView,
  toModelListView,
  toPricingView,
  toRankingView,
} from './catalog.dto.js';
import {
  COLLECTIONS,
  collectionModels,
  filterModels,
  type CollectionName,
  readComparison,
} from './model-selection.js';
import { exampleQuotes } from '../../payments/top-ups/quote.js';

/** The error message repeats an unknown id, which is the client's own text and may be very long. */
const ID_SHOWN_MAX = 200;

/** Any client may read these answers from any page, and cache them for a minute. */
const SHARED = applyDecorators(
  Header('cache-control', 'public, max-age=60'),
  Header('access-control-allow-origin', '*'),
);

/** Answers the content of the public pages as JSON. */
@ApiTags('Models')
@Controller('v1/catalog')
@Public()
@ApiProblems('database_unavailable')
export class CatalogController {
  constructor(private readonly reader: CatalogReaderService) {}

  @Get('models')
  @SHARED
  @ApiOperation({ operationId: 'listCatalogModels', summary: 'Models with prices and limits; needs no key' })
  @ApiOkResponse({ type: CatalogModelListView })
  @ApiProblems('invalid_request')
  async list(@Query() query: CatalogModelsQuery): Promise<CatalogModelListView> {
    const data = await this.reader.read();
    const filter = {
      maker: query.maker ?? null,
      modality: query.modality ?? null,
      free: query.price === 'free',
    };
    return toModelListView(data, filterModels(data.models, filter));
  }

  /** The path has a wildcard because ids contain a slash. */
  @Get('models/*')
  @SHARED
  @ApiOperation({ operationId: 'retrieveCatalogModel', summary: 'A model with its price and limits' })
  @ApiParam({ name: 'path', description: 'Id of the model.', example: 'black-forest-labs/flux-2-klein-9b' })
  @ApiOkResponse({ type: CatalogModelView })
  @ApiProblems('model_not_found')
  async retrieve(@Param('*') id: string): Promise<CatalogModelView> {
    return toCatalogModelView(requireModel(await this.reader.read(), id));
  }

  @Get('compare')
  @SHARED
  @ApiOperation({ operationId: 'compareCatalogModels', summary: 'Some models, to be put side by side' })
  @ApiOkResponse({ type: CatalogModelListView })
  @ApiProblems('invalid_request')
  async compare(@Query() { models }: CatalogComparisonQuery): Promise<CatalogModelListView> {
    const data = await this.reader.read();
    return toModelListView(data, readComparison(data, new URLSearchParams({ models })).models);
  }

  @Get('collections/:name')
  @SHARED
  @ApiOperation({ operationId: 'retrieveCatalogCollection', summary: 'Models that belong together' })
  @ApiParam({ name: 'name', enum: Object.keys(COLLECTIONS), description: 'Which collection.' })
  @ApiOkResponse({ type: CatalogModelListView })
  @ApiProblems('invalid_request', 'resource_missing')
  async collection(
    @Param('name') name: string,
    @Query() { maker }: CatalogCollectionQuery,
  ): Promise<CatalogModelListView> {
    const known = requireCollection(name);
    const data = await this.reader.read();
    return toModelListView(data, collectionModels(data, known, maker ?? null));
  }

  @Get('rankings')
  @SHARED
  @ApiOperation({ operationId: 'retrieveCatalogRanking', summary: 'Which models are used most; counts only' })
  @ApiOkResponse({ type: RankingView })
  async rankings(): Promise<RankingView> {
    return toRankingView((await this.reader.read()).ranking);
  }

  @Get('pricing')
  @SHARED
  @ApiOperation({ operationId: 'retrievePricing', summary: 'Prices per image and what top-ups cost' })
  @ApiOkResponse({ type: PricingView })
  async pricing(): Promise<PricingView> {
    const data = await this.reader.read();
    return toPricingView(data, exampleQuotes(data.topUp));
  }
}

function requireModel(data: CatalogData, id: string): PricedModel {
  const model = findPriced(data, id);
  if (model === null) throw new ModelNotFoundError(id.slice(0, ID_SHOWN_MAX));
  return model;
}

function requireCollection(name: string): CollectionName {
  const known = Object.keys(COLLECTIONS).find((one) => one === name);
  if (known === undefined) throw new ResourceMissingError('collection', name.slice(0, ID_SHOWN_MAX), 'name');
  return known as CollectionName;
}
