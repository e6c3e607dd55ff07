import { Controller, Get, HttpCode, HttpStatus, Post, Query, Res } from '@nestjs/common';
import { ApiGoneResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Public, type Reply } from '../../platform/http/routes.js';
import { HtmlAnswer } from '../../platform/http/pages/page-headers.js';
import { PageShell } from '../../platform/http/pages/render-html.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { deadLinkPage, donePage, questionPage } from './alert-pages.js';
import { AlertLinksService } from './alert-links.service.js';
import { AlertLinkQuery } from './wallet-alerts.dto.js';

/** A page, as every answer here. */
const DEAD_LINK = {
  description: 'The link is too old, or was replaced by a newer one.',
  content: { 'text/html': { schema: { type: 'string' } } },
};

/**
 * Where the links of mails lead. Opening one changes nothing, because mail programs and scanners open links by
 * themselves; the button on the page does, and so does the one-click request of RFC 8058.
 */
@ApiTags('Alerts')
@Controller('alerts')
@Public()
export class AlertLinksController {
  constructor(
    private readonly links: AlertLinksService,
    private readonly shell: PageShell,
  ) {}

  @Get('confirm')
  @HtmlAnswer()
  @ApiOperation({ operationId: 'alertConfirmPage', summary: 'The page of the link that asks for alerts' })
  @ApiProblems('invalid_request')
  confirmPage(@Query() link: AlertLinkQuery): string {
    return this.shell.render(questionPage('confirm', link));
  }

  @Post('confirm')
  @HttpCode(200)
  @HtmlAnswer()
  @ApiOperation({ operationId: 'alertConfirm', summary: 'Have alerts sent to the address of the link' })
  @ApiGoneResponse(DEAD_LINK)
  @ApiProblems('invalid_request', 'database_unavailable')
  async confirm(@Query() link: AlertLinkQuery, @Res({ passthrough: true }) reply: Reply): Promise<string> {
    return this.answer('confirm', await this.links.followConfirm(link.account, link.token), reply);
  }

  @Get('unsubscribe')
  @HtmlAnswer()
  @ApiOperation({ operationId: 'alertUnsubscribePage', summary: 'The page of the link that ends alerts' })
  @ApiProblems('invalid_request')
  unsubscribePage(@Query() link: AlertLinkQuery): string {
    return this.shell.render(questionPage('unsubscribe', link));
  }

  @Post('unsubscribe')
  @HttpCode(200)
  @HtmlAnswer()
  @ApiOperation({
    operationId: 'alertUnsubscribe',
    summary: 'Send no more alerts to the address of the link',
    description: 'Also what mail programs post for `List-Unsubscribe-Post`.',
  })
  @ApiGoneResponse(DEAD_LINK)
  @ApiProblems('invalid_request', 'database_unavailable')
  async unsubscribe(
    @Query() link: AlertLinkQuery,
    @Res({ passthrough: true }) reply: Reply,
  ): Promise<string> {
    return this.answer('unsubscribe', await this.links.followUnsubscribe(link.account, link.token), reply);
  }

  private answer(action: 'confirm' | 'unsubscribe', worked: boolean, reply: Reply): string {
    if (worked) return this.shell.render(donePage(action));
    reply.status(HttpStatus.GONE);
    return this.shell.render(deadLinkPage());
  }
}
