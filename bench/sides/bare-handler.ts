/** Validates a debit and answers it, and does nothing else: what HTTP and JSON cost before any money is moved. */
import fastify from 'fastify';
import { DEBIT_SCHEMA, debitAnswer, type DebitBody } from './debit-body.js';
import { listen } from './listen.js';

const app = fastify();
const key = `Bearer ${process.env['OPERATOR_KEY'] ?? ''}`;

app.post<{ Body: DebitBody }>('/v1/debits', { schema: { body: DEBIT_SCHEMA } }, (request, reply) => {
  if (request.headers.authorization !== key) return reply.code(401).send({ error: 'unknown key' });
  return reply.code(201).send(debitAnswer(request.body));
});

await listen(app);
