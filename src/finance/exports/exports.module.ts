import { Module } from '@nestjs/common';
import { ExportsController } from './exports.controller.js';
import { LedgerExportService } from './ledger-export.service.js';

@Module({ controllers: [ExportsController], providers: [LedgerExportService] })
export class ExportsModule {}
