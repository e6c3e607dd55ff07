import { type DynamicModule, Global, Module } from '@nestjs/common';
import { type PageFrame, PageShell } from '../platform/http/pages/render-html.js';

/** Provides the frame of every page to the controllers that answer with pages. */
@Global()
@Module({})
export class PagesModule {
  static with(frame: PageFrame): DynamicModule {
    return {
      module: PagesModule,
      providers: [{ provide: PageShell, useValue: new PageShell(frame) }],
      exports: [PageShell],
    };
  }
}
