import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PriceBook } from './price-book.service.js';
import { PriceEntity } from './price.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([PriceEntity])],
  providers: [PriceBook],
  exports: [PriceBook],
})
export class PricingModule {}
