const BFL_HOST = 'bfl.ai';

/**
 * Where our provider key may be sent and images may be fetched from. Answers of the provider name these
 * URLs, so a forged one could otherwise carry our key away or make us fetch from inside our own network.
 */
export class TrustedHosts {
  /** @param others origins that the operator named besides; results may be fetched from them too. */
  constructor(
    private readonly apiBase: URL,
    private readonly others: readonly URL[] = [],
  ) {}

  /**
   * With the real provider: `https` on `bfl.ai` and its subdomains, default port. With another base (the
   * stand-in, another server): that very origin, those that the operator named, and nothing else. Null for anything else, user names in the URL included.
   */
  parse(text: string): URL | null {
    if (!URL.canParse(text)) return null;
    const url = new URL(text);
    if (url.username !== '' || url.password !== '') return null;
    return this.isTrusted(url) ? url : null;
  }

  private isTrusted(url: URL): boolean {
    if (this.others.some(({ origin }) => url.origin === origin)) return true;
    if (!isBflHost(this.apiBase.hostname)) return url.origin === this.apiBase.origin;
    return url.protocol === 'https:' && url.port === '' && isBflHost(url.hostname);
  }
}

function isBflHost(hostname: string): boolean {
  return hostname === BFL_HOST || hostname.endsWith(`.${BFL_HOST}`);
}
