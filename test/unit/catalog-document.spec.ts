import { describe, expect, it } from '@jest/globals';
import { diffCatalogs } from '../../src/gateway/catalog/versions/catalog-diff.js';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { parseCatalog } from '../../src/gateway/catalog/versions/parse-catalog.js';
import { faultsOf, freshDocument } from '../support/images/catalog-documents.js';

describe('the catalogue file', () => {
  it('of this release is a catalogue with a paid and a free model', async () => {
    const { catalog } = await readCatalogFile();
    expect(catalog.models.map(({ id, priceMicros }) => [id, priceMicros])).toEqual([
      ['black-forest-labs/flux-2-klein-9b', 40_000n],
      ['black-forest-labs/flux-2-klein-4b', 0n],
    ]);
  });

  const wrong: [place: string, value: unknown][] = [
    ['id', 'someone-else/flux-2-klein-9b'],
    ['id', 'black-forest-labs/a b'],
    ['id', 'black-forest-labs/a/b'],
    ['id', 'black-forest-labs/a.md'],
    ['maker', 'nobody'],
    ['name', ''],
    ['name', 'two\nlines'],
    ['tagline', 'x'.repeat(161)],
    ['description', []],
    ['description', 'not a list'],
    ['released_on', '2026-02-30'],
    ['released_on', 'soon'],
    ['modalities', []],
    ['modalities', ['telepathy']],
    ['price_micros', 40_000],
    ['price_micros', '-1'],
    ['price_micros', '0.04'],
    ['price_micros', '1000000001'],
    ['typical_seconds', 0],
    ['references_max', 1.5],
    ['size', { width_default: 1_024 }],
    ['routes', []],
    ['routes', [{ provider: '../x', upstream_model: 'y' }]],
    ['routes', [{ provider: 'black_forest_labs', upstream_model: '../../v1/credits?x=' }]],
    ['sources', []],
  ];
  it.each(wrong)('is refused, and the place is named, when %s is %j', (member, value) => {
    const document = freshDocument();
    document.models[0][member] = value;
    const faults = faultsOf(document);
    expect(faults.length).toBeGreaterThan(0);
    expect(faults.join('\n')).toContain(`models[0].${member}`);
  });

  it('is refused with a misspelt member, which would be a fact that disappears', () => {
    const document = freshDocument();
    document.models[0]['price_micro'] = '1';
    expect(faultsOf(document)).toEqual(['models[0].price_micro is unknown']);
  });

  it('is refused when any member of a model is left out', () => {
    for (const member of Object.keys(freshDocument().models[0])) {
      const document = freshDocument();
      Reflect.deleteProperty(document.models[0], member);
      expect({ member, faults: faultsOf(document).length > 0 }).toEqual({ member, faults: true });
    }
  });

  it('is refused with two models of one id', () => {
    const document = freshDocument();
    document.models.push(document.models[0]);
    expect(faultsOf(document)).toEqual([`models has 'black-forest-labs/flux-2-klein-9b' twice`]);
  });
});

describe('the difference between two catalogues', () => {
  const published = parseCatalog(freshDocument());

  it('is empty between equal ones, and every model of a first one is new', () => {
    expect(diffCatalogs(published, parseCatalog(freshDocument()))).toEqual([]);
    expect(diffCatalogs(null, published).map(({ kind, model }) => [kind, model])).toEqual([
      ['added', 'black-forest-labs/flux-2-klein-9b'],
      ['added', 'black-forest-labs/flux-2-klein-4b'],
    ]);
  });

  it('names a removed model, an added one, and a changed price with both amounts', () => {
    const document = freshDocument();
    document.models[0]['price_micros'] = '45000';
    document.models[1] = { ...document.models[1], id: 'black-forest-labs/other' };
    expect(diffCatalogs(published, parseCatalog(document))).toEqual([
      { kind: 'added', model: 'black-forest-labs/other', what: null },
      {
        kind: 'changed',
        model: 'black-forest-labs/flux-2-klein-9b',
        what: { member: 'price_micros', before: '$0.04', after: '$0.045' },
      },
      { kind: 'removed', model: 'black-forest-labs/flux-2-klein-4b', what: null },
    ]);
  });

  it('does not overlook a change of any member', () => {
    const other: Readonly<Record<string, unknown>> = {
      name: 'x',
      family: 'x',
      tagline: 'x',
      description: ['x'],
      released_on: '2026-02-01',
      modalities: ['text_to_image'],
      price_micros: '1',
      typical_seconds: 9,
      references_max: 1,
      size: { width_default: 512, height_default: 512, side_min: 64, side_step: 16, pixels_max: 4_194_304 },
      strengths: ['x'],
      use_cases: ['x'],
      routes: [{ provider: 'x', upstream_model: 'x' }],
      sources: ['x'],
    };
    for (const member of Object.keys(freshDocument().models[0])) {
      if (member === 'id' || member === 'maker') continue;
      const document = freshDocument();
      document.models[0][member] = other[member];
      const changes = diffCatalogs(published, parseCatalog(document));
      const named = new Set(changes.map(({ what }) => what?.member.replace(/\[\d\]$/, '')));
      expect({ member, named: [...named] }).toEqual({ member, named: [member] });
    }
  });

  it('speaks as the file does, and shows a route a line', () => {
    const document = freshDocument();
    const [model] = document.models;
    Object.assign(model as object, {
      typical_seconds: 4,
      routes: [{ provider: 'openai_compatible', upstream_model: 'klein', cost_micros: '12000' }],
    });
    const lines = diffCatalogs(published, parseCatalog(document)).map(
      ({ what }) => `${what?.member}: ${what?.before} -> ${what?.after}`,
    );
    expect(lines).toEqual([
      'typical_seconds: 3 -> 4',
      'routes[0]: black_forest_labs flux-2-klein-9b -> openai_compatible klein, costs $0.012',
      'routes[1]: cloudflare_workers_ai @cf/black-forest-labs/flux-2-klein-9b, costs $0.015 -> none',
    ]);
    expect(lines.join()).not.toMatch(/[a-z][A-Z]|[{}"]/);
  });

  it('shows that the order, in which the models are listed, was changed', () => {
    const document = freshDocument();
    document.models.reverse();
    expect(diffCatalogs(published, parseCatalog(document))).toMatchObject([{ what: { member: 'order' } }]);
  });
});
