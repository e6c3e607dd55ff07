import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** The requests of one day in one region, signed by the secret of an access key. */
export type SigningScope = { readonly accessKeyId: string; readonly secret: string; readonly region: string };

const HEADER =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/;
/** How far the clocks of a client and of S3 may be apart. */
const SKEW_MAX_MS = 15 * 60_000;

/**
 * Signature Version 4, written from Amazon's description of it and not with the SDK that is being tested. Answers
 * S3's error code, or null when the request is signed by this key, unchanged and for now.
 */
export function signatureFault(
  request: IncomingMessage,
  body: Buffer,
  { accessKeyId, secret, region }: SigningScope,
): string | null {
  const match = HEADER.exec(request.headers.authorization ?? '');
  if (match === null) return 'AccessDenied';
  const [, keyId = '', day = '', signedRegion = '', signedHeaders = '', signature = ''] = match;
  if (keyId !== accessKeyId) return 'InvalidAccessKeyId';
  if (signedRegion !== region) return 'AuthorizationHeaderMalformed';
  const bodyHash = header(request, 'x-amz-content-sha256');
  if (bodyHash !== sha256(body)) return 'XAmzContentSHA256Mismatch';
  const time = header(request, 'x-amz-date');
  if (!time.startsWith(day) || Math.abs(Date.now() - timeOf(time)) > SKEW_MAX_MS)
    return 'RequestTimeTooSkewed';
  const names = signedHeaders.split(';');
  // What is not signed can be changed on the way.
  if (!['host', 'x-amz-content-sha256', 'x-amz-date'].every((name) => names.includes(name))) {
    return 'AccessDenied';
  }
  const url = new URL(request.url ?? '/', 'http://s3');
  const canonical = [
    request.method,
    url.pathname,
    canonicalQuery(url),
    ...names.map((name) => `${name}:${header(request, name).trim().replace(/ +/g, ' ')}`),
    '',
    signedHeaders,
    bodyHash,
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const key = [day, region, 's3', 'aws4_request'].reduce<Buffer>(hmac, Buffer.from(`AWS4${secret}`));
  const expected = hmac(key, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n'));
  return expected.toString('hex') === signature ? null : 'SignatureDoesNotMatch';
}

function canonicalQuery({ searchParams }: URL): string {
  const encode = (text: string): string =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return [...searchParams]
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&');
}

function timeOf(amzDate: string): number {
  return Date.parse(amzDate.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}

function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex');
}
