import { Global, Module } from '@nestjs/common';
import { CLOCK, systemClock } from './clock.js';
import { Lifecycle } from './lifecycle.js';

@Global()
@Module({
  providers: [{ provide: CLOCK, useFactory: () => ({ ...systemClock }) }, Lifecycle],
  exports: [CLOCK, Lifecycle],
})
export class CommonModule {}
