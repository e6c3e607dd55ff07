import { Global, Module } from '@nestjs/common';
import { FAILED_AUTHENTICATIONS } from '../auth/failed-authentications.js';
@Global()
@Module({ providers: [{ provide: FAILED_AUTHENTICATIONS, useValue: { assertBelowLimit: () => Promise.resolve(), record: () => Promise.resolve() } }], exports: [FAILED_AUTHENTICATIONS] })
export class TmpFailedModule {}
