import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { hash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** The best quality takes ten times as long and saves a tenth. */
const BROTLI_QUALITY = 9;

/** The best one first. */
const ENCODINGS = ['br', 'gzip'] as const;
type Encoding = (typeof ENCODINGS)[number];

/** A large text that never changes while the process runs. It is compressed once, and sent only to clients that do not have it. */
export class StoredAnswer {
  private constructor(
    private readonly options: { readonly type: string; readonly cacheControl: string },
    private readonly etag: string,
    private readonly plain: Buffer,
    private readonly encoded: Readonly<Record<Encoding, Buffer>>,
  ) {}

  static async create(text: string, options: { type: string; cacheControl: string }): Promise<StoredAnswer> {
    const plain = Buffer.from(text);
    const [br, gz] = await Promise.all([
      promisify(brotliCompress)(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } }),
      promisify(gzip)(plain),
    ]);
    return new StoredAnswer(options, etagFor(text), plain, { br, gzip: gz });
  }

  send(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const encoding = chooseEncoding(request.headers['accept-encoding']);
    // Each encoding needs its own tag: otherwise, a cache could send the wrong bytes.
    const etag = encoding === null ? this.etag : this.etag.replace(/"$/, `-${encoding}"`);
    reply
      .header('etag', etag)
      .header('cache-control', this.options.cacheControl)
      .header('vary', 'accept-encoding');
    if (isNamedIn(request.headers['if-none-match'], etag)) return reply.code(304).send();
    reply.type(this.options.type);
    if (encoding === null) return reply.send(this.plain);
    return reply.header('content-encoding', encoding).send(this.encoded[encoding]);
  }
}

/** `gzip;q=0` refuses an encoding, and an encoding that is not named is not used. */
function chooseEncoding(header: string | undefined): Encoding | null {
  const accepted = (header ?? '').split(',').filter((entry) => !/;\s*q=0(\.0*)?\s*$/.test(entry));
  const names = new Set(accepted.map((entry) => entry.split(';', 1)[0]?.trim().toLowerCase()));
  return ENCODINGS.find((encoding) => names.has(encoding)) ?? null;
}

/** Enough digits of the digest that no two bodies have the same by chance. */
const ETAG_DIGITS = 27;

export function etagFor(body: string): string {
  return `"${hash('sha256', body, 'base64url').slice(0, ETAG_DIGITS)}"`;
}

/** Returns whether `If-None-Match` names the tag. A cache in between may have made it a weak one, which means the same here. */
export function isNamedIn(header: string | undefined, etag: string): boolean {
  return (header ?? '')
    .split(',')
    .some((tag) => tag.trim().replace(/^W\//, '') === etag || tag.trim() === '*');
}
