import { Controller, Get, Param, Query, Res, StreamableFile } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiQuery, ApiTags } from '@nestjs/swagger';
import { Public } from '../../auth/public.decorator.js';
import type { Reply } from '../../http/reply.js';
import { ApiProblems } from '../../problems/api-problems.js';
import { MediaDownloads } from './media-downloads.service.js';

@ApiTags('Images')
@Controller('v1/media')
export class MediaController {
  constructor(private readonly downloads: MediaDownloads) {}

  /** The signature in the URL is the permission: an `<img>` sends no key. */
  @Get(':generation/:file')
  @Public()
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
  @ApiProblems('invalid_media_url', 'resource_missing')
  async download(
    @Param('generation') generation: string,
    @Param('file') file: string,
    @Query('expires') expires: unknown,
    @Query('signature') signature: unknown,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<StreamableFile> {
    const { stream, headers } = await this.downloads.open({ generation, file, expires, signature });
    for (const [name, value] of Object.entries(headers)) reply.header(name, value);
    return new StreamableFile(stream);
  }
}
