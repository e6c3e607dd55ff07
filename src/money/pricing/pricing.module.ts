import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PriceBookService } from './price-book.service.js';
import { PriceEntity } from './price.entity.js';
import { QuotesController } from './quotes.controller.js';
import { QuotesService } from './quotes.service.js';

@Module({
  imports: [TypeOrmModule.forFeature([PriceEntity])],
  controllers: [QuotesController],
  providers: [PriceBookService, QuotesService],
  exports: [PriceBookService],
})
export class PricingModule {}
