import { Controller, Get, Param, Query, Req, Res, StreamableFile } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiQuery, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { Public, type Reply } from '../../../platform/http/routes.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { MediaDownloadsService } from './media-downloads.service.js';

@ApiTags('Images')
@Controller('v1/media')
export class MediaController {
  constructor(private readonly downloads: MediaDownloadsService) {}

  /** The signature in the URL grants access, because an `<img>` element sends no API key. */
  @Get(':generation/:file')
  @Public({ uncounted: 'Only signed URLs are answered, and customers may fetch all images that they made.' })
  @ApiOperation({ operationId: 'downloadImage', summary: 'Fetch an image by its signed URL' })
  @ApiParam({ name: 'generation', example: 'gen_01KB2H7Q0000000000000000AA' })
  @ApiParam({ name: 'file', example: '0.png' })
  @ApiQuery({ name: 'expires', description: 'Unix seconds.', example: '1795333161' })
  @ApiQuery({ name: 'signature', example: 'mP0c…' })
  @ApiOkResponse({
    description: 'The image.',
    content: {
      'image/png': { schema: { type: 'string', format: 'binary' } },
      'image/jpeg': { schema: { type: 'string', format: 'binary' } },
      'image/webp': { schema: { type: 'string', format: 'binary' } },
    },
  })
  @ApiResponse({ status: 304, description: 'The client has the image already (`If-None-Match`).' })
  @ApiProblems('invalid_media_url', 'resource_missing', 'media_unavailable')
  async download(
    @Param('generation') generation: string,
    @Param('file') file: string,
    @Query('expires') expires: unknown,
    @Query('signature') signature: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<StreamableFile | undefined> {
    const isHead = request.method === 'HEAD';
    const ifNoneMatch = request.headers['if-none-match'];
    const asked = { generation, file, expires, signature, isHead, ifNoneMatch };
    const { status, headers, stream } = await this.downloads.open(asked);
    reply.status(status);
    for (const [name, value] of Object.entries(headers)) reply.header(name, value);
    return stream === null ? undefined : new StreamableFile(stream);
  }
}
