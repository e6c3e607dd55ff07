const BFL_HOST = 'bfl.ai';

/**
 * The hosts to which our provider key may be sent and from which images may be fetched. Answers of the provider contain these URLs,
 * so a forged answer could otherwise steal our key or make us send requests inside our own network.
 */
export class TrustedHosts {
  /** @param others further origins from the settings, from which results may be fetched as well. */
  constructor(
    private readonly apiBase: URL,
    private readonly others: readonly URL[] = [],
  ) {}

  /**
   * Returns the URL if it is trusted, otherwise null. With the real provider these are `https` URLs on `bfl.ai` and its subdomains with
   * the default port. With another base (the simulator or another server) they are that exact origin and those in the settings. URLs
   * with user names are never trusted.
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
