import type { TestApp } from '../app/test-app.js';

export type PublishedEvent = {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
};

/** What the account was notified of, oldest first, whether or not an endpoint listens. */
export async function publishedTo(app: TestApp, accountId: string): Promise<PublishedEvent[]> {
  const rows = await app.dataSource.query<{ body: string }[]>(
    'SELECT body FROM webhook_events WHERE account_id = $1 ORDER BY id',
    [accountId],
  );
  return rows.map(({ body }) => JSON.parse(body) as PublishedEvent);
}
