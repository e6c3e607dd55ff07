import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { TopUpRepository } from '../../src/payments/top-ups/top-up.repository.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { openPage, payPage, settled, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';
import { attribute, HtmlPage, textOf } from '../support/html.js';

const COMPLETE = '/checkout/complete';
const NEUTRAL = 'Back from the payment page';

let shop: SharedShop;
beforeAll(async () => {
  shop = await sharedShop();
});
afterEach(() => {
  shop.control.clearFaults();
  jest.restoreAllMocks();
});

async function read(path: string): Promise<HtmlPage> {
  return new HtmlPage(String((await shop.client(null).get(path)).expect(200).body));
}
const headingOf = (page: HtmlPage): string => textOf(page.all('h1')[0] as never);
/** Where Stripe sends the payer. */
const afterPaying = ({ id, sessionId }: Pick<OpenTopUp, 'id' | 'sessionId'>): string =>
  `${COMPLETE}?top_up=${id}&session=${sessionId}`;
const refreshOf = (page: HtmlPage): string | undefined =>
  page
    .all('meta')
    .filter((meta) => attribute(meta, 'http-equiv') === 'refresh')
    .map((meta) => attribute(meta, 'content'))[0];

describe('the page after paying', () => {
  it('says what was paid and bought to the payer whom Stripe sends there', async () => {
    const topUp = await payPage(shop, await startTopUp(shop));
    const page = await read(afterPaying(topUp));
    expect(headingOf(page)).toBe('Payment received');
    for (const words of ['$10.00', '$0.50', '$10.50', topUp.id]) expect(page.text).toContain(words);
    expect(refreshOf(page)).toBeUndefined();
  });

  it('asks for itself again while the payment is not confirmed, and promises nothing until it is', async () => {
    const topUp = await startTopUp(shop);
    shop.control.setWebhookFaults({ loseEvents: true });
    await shop.control.pay(topUp.sessionId);
    const page = await read(afterPaying(topUp));
    expect(headingOf(page)).toBe('The payment is being confirmed');
    expect(refreshOf(page)).toBe('4');
    expect(page.text).not.toMatch(/received|in the wallet\./);
  });

  it('says that nothing was charged where the page has expired', async () => {
    const topUp = await startTopUp(shop);
    await shop.control.expireCheckoutSession(topUp.sessionId);
    await settled(shop);
    const page = await read(afterPaying(topUp));
    expect(headingOf(page)).toBe('Not paid');
    expect(page.text).toContain('Nothing was charged');
  });

  it('says nothing of any payment to a caller who only knows the id of a top-up, or nothing', async () => {
    const topUp = await payPage(shop, await startTopUp(shop));
    const other = await openPage(await shop.createCustomer(), { credit_cents: 700 });
    for (const query of [
      '',
      '?top_up=tu_nope',
      `?top_up=${topUp.id}`,
      `?top_up=${topUp.id}&session=`,
      `?top_up=${topUp.id}&session=${other.sessionId}`,
      `?top_up=${other.id}&session=${topUp.sessionId}`,
      `?top_up=${topUp.id}&session=${topUp.sessionId.slice(0, -1)}`,
      `?top_up=${topUp.id}&session=${topUp.sessionId}&session=x`,
      `?session=${topUp.sessionId}`,
      '?top_up=%3Cscript%3E&session=%00',
    ]) {
      const page = await read(`${COMPLETE}${query}`);
      expect(headingOf(page)).toBe(NEUTRAL);
      expect(page.text).not.toMatch(/\$\d|tu_|received/);
    }
  });

  it('stays there for the payer while the database is away', async () => {
    jest
      .spyOn(shop.app.get(TopUpRepository), 'findAnywhere')
      .mockRejectedValue(Object.assign(new Error('away'), { code: 'ECONNREFUSED' }));
    expect(headingOf(await read(`${COMPLETE}?top_up=tu_1&session=cs_1`))).toBe(NEUTRAL);
  });
});

describe('the page after going back', () => {
  it('says that nothing is charged without a payment, and speaks of no payment in particular', async () => {
    const { id } = await startTopUp(shop);
    const page = await read(`/checkout/canceled?top_up=${id}`);
    expect(headingOf(page)).toBe('Payment not finished');
    expect(page.text).not.toContain(id);
  });
});

describe.each([COMPLETE, '/checkout/canceled'])('%s', (path) => {
  it('looks like all pages, leads back to them, and is kept by no cache and no search engine', async () => {
    const answer = await shop.client(null).get(path);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const page = new HtmlPage(String(answer.body));
    expect(page.faults).toEqual([]);
    expect(page.all('link').map((link) => attribute(link, 'rel'))).toContain('stylesheet');
    expect(page.values('href')).toEqual(expect.arrayContaining(['/', '/models', '/docs']));
    expect(page.all('meta').map((meta) => attribute(meta, 'content'))).toContain('noindex');
  });
});
