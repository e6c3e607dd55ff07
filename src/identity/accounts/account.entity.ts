import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('accounts')
@Check('accounts_id_form', `id LIKE 'acct\\_%'`)
@Check('accounts_name_length', 'char_length(name) BETWEEN 1 AND 200')
export class AccountEntity {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'accounts_pkey', collation: 'C' })
  id!: string;

  @Column('text')
  name!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
