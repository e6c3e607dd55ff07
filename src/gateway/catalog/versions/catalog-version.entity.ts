import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('catalog_versions')
@Check('catalog_versions_version_positive', 'version > 0')
@Check('catalog_versions_document_object', `jsonb_typeof(document) = 'object'`)
@Check('catalog_versions_publisher_length', 'char_length(published_by) BETWEEN 1 AND 200')
export class CatalogVersionEntity {
  @PrimaryColumn({ type: 'integer', primaryKeyConstraintName: 'catalog_versions_pkey' })
  version!: number;

  /** The published file, as `parseCatalog` reads it. */
  @Column({ type: 'jsonb' })
  document!: unknown;

  @Column({ type: 'timestamptz', name: 'published_at', precision: 3 })
  publishedAt!: Date;

  @Column({ type: 'text', name: 'published_by', collation: 'C' })
  publishedBy!: string;
}
