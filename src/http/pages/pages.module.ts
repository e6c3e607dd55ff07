import { type DynamicModule, Global, Module } from '@nestjs/common';
import { PageShell } from './page-shell.js';
import type { PageFrame } from './render-html.js';

/** Hands what surrounds every page to the controllers that answer with one. */
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
