import { isIP } from 'node:net';

/** Values that people paste from examples; a service that accepts them has no real secret. */
const PLACEHOLDER =
  /change[-_ ]?me|placeholder|example|your[-_ ]|^x+$|\.\.\.|…|<.*>|^(secret|password|test|todo)$/i;
const SECRET_LENGTH_MIN = 12;
const HEADERS_MAX = 20;
/** The client sets these headers itself; another value would break the request, or carry a key that is not kept out of logs. */
const OWN_HEADERS: readonly string[] = [
  'accept',
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

export class InvalidSettingsError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(
      `Coffer cannot start. Correct these settings:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    );
    this.name = 'InvalidSettingsError';
  }
}

/** Collects all faults instead of stopping at the first. It never repeats a value, because that may be a secret. */
export class EnvironmentReader {
  /** The first fault of each setting: further ones mostly follow from it. */
  private readonly faults = new Map<string, string>();

  constructor(private readonly env: NodeJS.ProcessEnv) {}

  text(name: string): string | null {
    const value = this.env[name]?.trim();
    return value === undefined || value === '' ? null : value;
  }

  require(name: string): void {
    if (this.text(name) === null) this.reject(name, 'is required in production');
  }

  /** Production refuses a secret that looks like a placeholder; elsewhere, a script may use a readable one. */
  secret(name: string, refusePlaceholder: boolean): string | null {
    const value = this.text(name);
    if (value === null) return null;
    if (refusePlaceholder && (PLACEHOLDER.test(value) || value.length < SECRET_LENGTH_MIN)) {
      this.reject(name, 'looks like a placeholder');
      return null;
    }
    return value;
  }

  integer(name: string, bounds: { fallback: number; min: number; max: number }): number {
    const value = this.text(name);
    if (value === null) return bounds.fallback;
    const parsed = Number(value);
    if (!/^\d+$/.test(value) || parsed < bounds.min || parsed > bounds.max) {
      this.reject(name, `must be a whole number from ${bounds.min} to ${bounds.max}`);
      return bounds.fallback;
    }
    return parsed;
  }

  oneOf<const T extends string>(name: string, allowed: readonly T[], fallback: NoInfer<T>): T {
    const value = this.text(name);
    if (value === null) return fallback;
    const found = allowed.find((candidate) => candidate === value);
    if (found === undefined) this.reject(name, `must be one of ${allowed.join(', ')}`);
    return found ?? fallback;
  }

  url(name: string): URL | null {
    const value = this.text(name);
    if (value === null) return null;
    const parsed = URL.canParse(value) ? new URL(value) : null;
    if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
      this.reject(name, 'must be an http or https URL');
      return null;
    }
    return parsed;
  }

  /** Reads comma-separated IP addresses and CIDR blocks. */
  addresses(name: string): readonly string[] {
    const entries = (this.text(name) ?? '').split(',').map((entry) => entry.trim());
    const addresses = entries.filter((entry) => entry !== '');
    if (!addresses.every(isAddressOrBlock))
      this.reject(name, 'must be IP addresses or CIDR blocks, comma-separated');
    return addresses;
  }

  /** Reads a JSON object of request headers, names in lower case. Headers that the client sets itself are refused. */
  headers(name: string): Readonly<Record<string, string>> {
    const text = this.text(name);
    if (text === null) return {};
    const entries = entriesOfJson(text);
    if (entries === null || entries.length > HEADERS_MAX || !entries.every(isHeader)) {
      this.reject(
        name,
        `must be a JSON object of at most ${HEADERS_MAX} request headers with texts, without ${OWN_HEADERS.join(', ')}`,
      );
      return {};
    }
    return Object.fromEntries(entries.map(([header, value]) => [header.toLowerCase(), String(value)]));
  }

  /** Reads comma-separated hosts, for https, or origins: `images.example.com, http://127.0.0.1:9000`. */
  origins(name: string): readonly URL[] {
    const entries = (this.text(name) ?? '').split(',').map((entry) => entry.trim());
    const urls = entries
      .filter((entry) => entry !== '')
      .map((entry) => (entry.includes('://') ? entry : `https://${entry}`))
      .map((entry) => (URL.canParse(entry) ? new URL(entry) : null));
    const isOrigin = (url: URL | null): url is URL =>
      url !== null && /^https?:\/\/[^*]+$/.test(url.href) && url.href === `${url.origin}/`;
    if (urls.every(isOrigin)) return urls;
    this.reject(name, 'must be hosts, or http or https origins, comma-separated');
    return [];
  }

  reject(name: string, why: string): void {
    if (!this.faults.has(name)) this.faults.set(name, `${name} ${why}.`);
  }

  finish(): void {
    if (this.faults.size > 0) throw new InvalidSettingsError([...this.faults.values()]);
  }
}

function entriesOfJson(text: string): [string, unknown][] | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value)
      : null;
  } catch {
    return null;
  }
}

function isHeader([name, value]: readonly [string, unknown]): boolean {
  const isName = /^[!#$%&'*+.^_`|~0-9a-z-]{1,100}$/i.test(name) && !OWN_HEADERS.includes(name.toLowerCase());
  return isName && typeof value === 'string' && /^[\x21-\x7e](?:[\x20-\x7e]{0,998}[\x21-\x7e])?$/.test(value);
}

function isAddressOrBlock(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}
