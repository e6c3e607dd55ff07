import { NestFactory } from '@nestjs/core';
import { AppModule } from '../../app.module.js';
import { readSettings } from '../../platform/config/settings.js';
import { createHttpAdapter } from '../../platform/http/http-adapter.js';
import { AnswerHeaders } from '../../platform/http/http-adapter.js';
import { buildOpenApiDocument } from './openapi.js';

/** Returns the committed `openapi.json`, byte for byte. Nothing is instantiated: it needs no database, network or secrets. */
export async function renderOpenApiFile(): Promise<string> {
  const settings = readSettings({ NODE_ENV: 'test' });
  const app = await NestFactory.create(
    AppModule.with(settings),
    createHttpAdapter(new AnswerHeaders({}), []),
    {
      preview: true,
      logger: false,
      abortOnError: false,
    },
  );
  try {
    return `${JSON.stringify(buildOpenApiDocument(app), null, 2)}\n`;
  } finally {
    await app.close();
  }
}
