import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { countActive, type UpstreamAccount } from './accounts.js';
import type { UpstreamContext } from './context.js';
import type { ByteFault, RequestTrouble } from './faults.js';
import { problem, UpstreamHttpError } from './http-error.js';
import { priceMillicredits, toCredits, toMegapixels } from './price.js';
import { readSubmitParameters, type SubmitParameters } from './submit-parameters.js';
import { nextPollTrouble, statusOf, type Task } from './tasks.js';

/**
 * Results are asked for in the region that `polling_url` names. A client that rebuilds the URL from the
 * global host finds nothing there, as the real service warns.
 */
const REGION = 'us1';
/** A task that never ends stops counting as active after this time. */
const ACTIVE_MAX_MS = 600_000;
const RETRY_AFTER_SECONDS = 1;
/** Both take the same parameters (`Flux2KleinInputs`); the simulator charges both the price of the larger one. */
const MODELS = ['flux-2-klein-9b', 'flux-2-klein-4b'] as const;

export function registerUpstreamRoutes(app: FastifyInstance, context: UpstreamContext): void {
  for (const model of MODELS) app.post(`/v1/${model}`, (request, reply) => submit(context, request, reply));
  app.get(`/${REGION}/v1/get_result`, (request, reply) => poll(context, request, reply));
  app.get('/v1/get_result', (request, reply) => {
    authenticate(context, request);
    return sendNotFound(context, reply, taskIdOf(request));
  });
  app.get('/v1/credits', (request) => {
    const { balanceMillicredits } = authenticate(context, request);
    return { credits: toCredits(balanceMillicredits) };
  });
  app.get<{ Params: DeliveryParams }>(`/delivery/${REGION}/:id/:token/:file`, (request, reply) =>
    download(context, request, reply),
  );
}

async function submit(
  context: UpstreamContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const account = authenticate(context, request);
  context.counts.submits += 1;
  account.submits += 1;
  const parameters = await readSubmitParameters(request.body, context.refuseUnknownParameters);
  const plan = context.faults.planFor(parameters.prompt);
  if (plan.submit !== null && plan.submit !== 'lost') return meet(plan.submit, request, reply);

  const nowMs = context.clock.nowMs();
  const price = priceMillicredits(parameters.width * parameters.height, parameters.inputPixels);
  assertAffordable(context, account, price, nowMs);
  const task = context.tasks.create(keyOf(request), parameters, plan, context.settings.latencyMs, nowMs);
  account.balanceMillicredits -= price;
  account.usedMillicredits += price;
  context.counts.tasks += 1;
  if (task.readyAtMs > nowMs) account.activeUntilMs.push(Math.min(task.readyAtMs, nowMs + ACTIVE_MAX_MS));
  if (plan.submit === 'lost') return meet('lost', request, reply);
  return {
    id: task.id,
    polling_url: `${context.baseUrl()}/${REGION}/v1/get_result?id=${task.id}`,
    cost: toCredits(price),
    input_mp: toMegapixels(parameters.inputPixels),
    output_mp: toMegapixels(parameters.width * parameters.height),
  };
}

function assertAffordable(
  { settings }: UpstreamContext,
  account: UpstreamAccount,
  price: number,
  nowMs: number,
): void {
  if (account.balanceMillicredits < price) throw new UpstreamHttpError(402, 'Insufficient credits');
  const { activeTasksMax } = settings;
  if (activeTasksMax === null || countActive(account, nowMs) < activeTasksMax) return;
  throw new UpstreamHttpError(429, `Too many active tasks: at most ${activeTasksMax}`, RETRY_AFTER_SECONDS);
}

function authenticate(context: UpstreamContext, request: FastifyRequest): UpstreamAccount {
  const key = request.headers['x-key'];
  if (typeof key !== 'string' || key === '') throw new UpstreamHttpError(403, 'Not authenticated');
  const account = context.accounts.find(key);
  if (account === null) throw new UpstreamHttpError(403, 'Not authenticated - Invalid Authentication');
  return account;
}

function keyOf(request: FastifyRequest): string {
  return String(request.headers['x-key']);
}

function poll(context: UpstreamContext, request: FastifyRequest, reply: FastifyReply): unknown {
  authenticate(context, request);
  context.counts.polls += 1;
  const id = taskIdOf(request);
  const task = context.tasks.get(id);
  if (task?.apiKey !== keyOf(request)) return sendNotFound(context, reply, id);
  const trouble = nextPollTrouble(task);
  if (trouble !== null) return meet(trouble, request, reply);
  return answerOf(context, reply, task);
}

function taskIdOf(request: FastifyRequest): string {
  const { id } = request.query as { id?: unknown };
  if (typeof id === 'string') return id;
  throw new UpstreamHttpError(422, [problem('missing', ['query', 'id'], 'Field required')]);
}

function sendNotFound(context: UpstreamContext, reply: FastifyReply, id: string): FastifyReply {
  return reply.status(context.taskNotFoundStatus).send(result(id, 'Task not found', null, null));
}

function answerOf(context: UpstreamContext, reply: FastifyReply, task: Task): unknown {
  const status = statusOf(task, context.clock.nowMs());
  switch (status) {
    case 'Task not found':
      return sendNotFound(context, reply, task.id);
    case 'Ready':
      return result(task.id, status, finished(context, task), null);
    case 'Request Moderated':
    case 'Content Moderated':
      return result(task.id, status, null, { 'Moderation Reasons': ['Asked for by the sandbox directive'] });
    case 'Error':
    case 'Pending':
      return result(task.id, status, null, null);
  }
}

function result(id: string, status: string, found: unknown, details: unknown): unknown {
  return { id, status, result: found, progress: null, details, preview: null };
}

function finished({ baseUrl }: UpstreamContext, task: Task): unknown {
  const { prompt, outputFormat } = task.parameters;
  const startSeconds = task.createdAtMs / 1_000;
  const endSeconds = task.readyAtMs / 1_000;
  return {
    sample: `${baseUrl()}/delivery/${REGION}/${task.id}/${task.token}/sample.${outputFormat}`,
    prompt,
    seed: task.seed,
    start_time: startSeconds,
    end_time: endSeconds,
    duration: (task.readyAtMs - task.createdAtMs) / 1_000,
  };
}

type DeliveryParams = { readonly id: string; readonly token: string; readonly file: string };

/** The URL itself is the permission, for a limited time. */
async function download(
  context: UpstreamContext,
  request: FastifyRequest<{ Params: DeliveryParams }>,
  reply: FastifyReply,
): Promise<unknown> {
  const { id, token, file } = request.params;
  const task = context.tasks.get(id);
  const nowMs = context.clock.nowMs();
  const isReady = task !== undefined && statusOf(task, nowMs) === 'Ready';
  const isNamed = isReady && task.token === token && file === `sample.${task.parameters.outputFormat}`;
  if (!isNamed) throw new UpstreamHttpError(404, 'Not Found');
  if (nowMs > task.readyAtMs + context.resultTtlMs) throw new UpstreamHttpError(403, 'The URL has expired');
  if (request.headers['x-key'] !== undefined) context.counts.keysSentToDelivery += 1;
  const { download: trouble, bytes: fault } = task.plan;
  if (trouble !== null && trouble !== 'reset') return meet(trouble, request, reply);
  const picture = await pictureOf(context, task.parameters, task.seed, fault);
  if (trouble === 'reset') return sendHalf(reply, picture);
  context.counts.downloads += 1;
  return reply.header('Content-Type', `image/${task.parameters.outputFormat}`).send(picture);
}

async function pictureOf(
  { pictures }: UpstreamContext,
  parameters: SubmitParameters,
  seed: number,
  fault: ByteFault | null,
): Promise<Buffer> {
  const { prompt, width, height, outputFormat, thumbnails } = parameters;
  if (fault === 'not_image') return Buffer.from('<html><body>502 Bad Gateway</body></html>');
  const drawnWidth = fault === 'wrong_size' ? width + 16 : width;
  const picture = await pictures.get({ prompt, width: drawnWidth, height, seed, outputFormat, thumbnails });
  return fault === 'truncated' ? picture.subarray(0, Math.floor(picture.length / 2)) : picture;
}

/** Announces the whole picture and breaks off in the middle of it. */
function sendHalf(reply: FastifyReply, picture: Buffer): FastifyReply {
  reply.hijack();
  reply.raw.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': picture.length });
  reply.raw.write(picture.subarray(0, Math.floor(picture.length / 2)), () => reply.raw.destroy());
  return reply;
}

function meet(trouble: RequestTrouble, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (typeof trouble === 'number') {
    const retryAfterSeconds = trouble === 429 || trouble === 503 ? RETRY_AFTER_SECONDS : null;
    throw new UpstreamHttpError(trouble, 'Asked for by the sandbox directive', retryAfterSeconds);
  }
  reply.hijack();
  // A request that hangs is not touched: it ends when the client gives up or the simulator closes.
  if (trouble !== 'hang') request.raw.socket.destroy();
  return reply;
}
