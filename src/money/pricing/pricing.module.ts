import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PriceBook } from './price-book.service.js';
import { PriceEntity } from './price.entity.js';
import { QuotesController } from './quotes.controller.js';
import { Quotes } from './quotes.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([PriceEntity])],
  controllers: [QuotesController],
  providers: [PriceBook, Quotes],
  exports: [PriceBook],
})
export class PricingModule {}
