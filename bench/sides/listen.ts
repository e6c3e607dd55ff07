import type { FastifyInstance } from 'fastify';

/** Listens on a port that the system chooses, and prints where, which is what `startSide` waits for. */
export async function listen(app: FastifyInstance): Promise<string> {
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  console.log(JSON.stringify({ url }));
  return url;
}
