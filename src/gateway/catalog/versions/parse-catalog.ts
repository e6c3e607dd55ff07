import { micros, parseMicros, ZERO, type MicroUsd } from '../../../platform/common/money.js';
import {
  MODALITIES,
  type Catalog,
  type CatalogModel,
  type CatalogRoute,
  type CatalogSize,
  type Maker,
  type Modality,
} from '../catalog.js';
import { DocumentReader } from './document-reader.js';

const ID_PATTERN = /^[a-z0-9][a-z0-9._-]*$/;
const NAME_MAX = 100;
const TAGLINE_MAX = 160;
const PARAGRAPH_MAX = 1_000;
/** A catalogue is edited by hand and shown on one page, so it cannot be very long. */
const MAKERS_MAX = 100;
const MODELS_MAX = 500;
const WORDS_MAX = 20;
const ROUTES_MAX = 8;
/** A thousand dollars for an image, as in the constraint `prices_amount_bounded`. */
const PRICE_MAX_MICROS = micros(1_000_000_000n);
const SIDE_MAX = 16_384;

const MODEL_MEMBERS = [
  'id',
  'maker',
  'name',
  'family',
  'tagline',
  'description',
  'released_on',
  'modalities',
  'price_micros',
  'typical_seconds',
  'references_max',
  'size',
  'strengths',
  'use_cases',
  'routes',
  'sources',
];

export class InvalidCatalogError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`this is not a valid catalogue:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
    this.name = 'InvalidCatalogError';
  }
}

/** Reads a catalogue document. Pure. Throws `InvalidCatalogError` naming every fault with its position. */
export function parseCatalog(document: unknown): Catalog {
  const reader = new DocumentReader();
  const members = reader.object(document, 'catalog', ['version', 'makers', 'models']);
  const version = reader.integer(members['version'], 'version', { min: 1, max: 1_000_000_000 });
  const makers = reader.list(members['makers'], 'makers', { min: 1, max: MAKERS_MAX }, (item, place) =>
    readMaker(reader, item, place),
  );
  refuseTwins(reader, 'makers', makers);
  const models = reader.list(members['models'], 'models', { min: 1, max: MODELS_MAX }, (item, place) =>
    readModel(reader, item, place, makers),
  );
  refuseTwins(reader, 'models', models);
  if (reader.faults.length > 0) throw new InvalidCatalogError(reader.faults);
  return { version, models };
}

function refuseTwins(reader: DocumentReader, place: string, items: readonly { readonly id: string }[]): void {
  const seen = new Set<string>();
  for (const { id } of items) {
    if (seen.has(id)) reader.refuse(place, `has '${id}' twice`);
    seen.add(id);
  }
}

function readMaker(reader: DocumentReader, value: unknown, place: string): Maker {
  const members = reader.object(value, place, ['id', 'name', 'description']);
  return {
    id: reader.text(members['id'], `${place}.id`, { max: NAME_MAX, pattern: ID_PATTERN }),
    name: reader.text(members['name'], `${place}.name`, { max: NAME_MAX }),
    description: reader.text(members['description'], `${place}.description`, { max: PARAGRAPH_MAX }),
  };
}

function readModel(
  reader: DocumentReader,
  value: unknown,
  place: string,
  makers: readonly Maker[],
): CatalogModel {
  const members = reader.object(value, place, MODEL_MEMBERS);
  const at = (name: string): string => `${place}.${name}`;
  const line = (name: string, max: number): string => reader.text(members[name], at(name), { max });
  const lines = (name: string, bounds: { min: number; max: number }, lineMax: number): string[] =>
    reader.list(members[name], at(name), bounds, (item, where) => reader.text(item, where, { max: lineMax }));
  const makerId = line('maker', NAME_MAX);
  const maker = makers.find(({ id }) => id === makerId);
  if (maker === undefined) reader.refuse(at('maker'), 'must be the id of a maker');
  const id = line('id', 2 * NAME_MAX);
  // A page's address that ends in `.md` is that of its Markdown, so an id must not end like this.
  const [prefix, name, ...rest] = id.split('/');
  if (
    prefix !== makerId ||
    name === undefined ||
    !ID_PATTERN.test(name) ||
    name.endsWith('.md') ||
    rest.length > 0
  ) {
    reader.refuse(
      at('id'),
      `must be '${makerId}/' and a name like ${ID_PATTERN.source}, without '.md' at its end`,
    );
  }
  return {
    id,
    maker: maker ?? { id: makerId, name: makerId, description: '' },
    name: line('name', NAME_MAX),
    family: line('family', NAME_MAX),
    tagline: line('tagline', TAGLINE_MAX),
    description: lines('description', { min: 1, max: WORDS_MAX }, PARAGRAPH_MAX),
    releasedOn: readDate(reader, members['released_on'], at('released_on')),
    modalities: readModalities(reader, members['modalities'], at('modalities')),
    priceMicros: readPrice(reader, members['price_micros'], at('price_micros')),
    typicalSeconds:
      members['typical_seconds'] === null
        ? null
        : reader.integer(members['typical_seconds'], at('typical_seconds'), { min: 1, max: 600 }),
    referencesMax: reader.integer(members['references_max'], at('references_max'), { min: 0, max: 16 }),
    size: readSize(reader, members['size'], at('size')),
    strengths: lines('strengths', { min: 0, max: WORDS_MAX }, NAME_MAX),
    useCases: lines('use_cases', { min: 0, max: WORDS_MAX }, NAME_MAX),
    routes: readRoutes(reader, members['routes'], at('routes')),
    sources: lines('sources', { min: 1, max: WORDS_MAX }, 2 * NAME_MAX),
  };
}

function readDate(reader: DocumentReader, value: unknown, place: string): string {
  const day = reader.text(value, place, { max: 10, pattern: /^\d{4}-\d{2}-\d{2}$/ });
  const time = Date.parse(`${day}T00:00:00Z`);
  // 30 February is parsed as no date or as another day; in both cases it is refused.
  if (day !== '' && (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== day)) {
    reader.refuse(place, 'is no day of the calendar');
  }
  return day;
}

const MODALITY_WORDS = Object.keys(MODALITIES) as [Modality, ...Modality[]];

function readModalities(reader: DocumentReader, value: unknown, place: string): Modality[] {
  return reader.list(value, place, { min: 1, max: MODALITY_WORDS.length }, (item, where) =>
    reader.word(item, where, MODALITY_WORDS),
  );
}

/** Money is a string here as well, because a JSON number would be read as a float. */
function readPrice(reader: DocumentReader, value: unknown, place: string): MicroUsd {
  const amount = typeof value === 'string' ? parseMicros(value) : null;
  if (amount !== null && amount >= 0n && amount <= PRICE_MAX_MICROS) return amount;
  reader.refuse(place, `must be whole micro-dollars from 0 to ${PRICE_MAX_MICROS}, as a string`);
  return ZERO;
}

function readSize(reader: DocumentReader, value: unknown, place: string): CatalogSize {
  const names = ['width_default', 'height_default', 'side_min', 'side_step', 'pixels_max'];
  const members = reader.object(value, place, names);
  const pixels = (name: string, max: number): number =>
    reader.integer(members[name], `${place}.${name}`, { min: 1, max });
  const size = {
    widthDefault: pixels('width_default', SIDE_MAX),
    heightDefault: pixels('height_default', SIDE_MAX),
    sideMin: pixels('side_min', SIDE_MAX),
    sideStep: pixels('side_step', SIDE_MAX),
    pixelsMax: pixels('pixels_max', SIDE_MAX * SIDE_MAX),
  };
  const isAllowed = (side: number): boolean => side >= size.sideMin && side % size.sideStep === 0;
  const { widthDefault, heightDefault } = size;
  if (
    !isAllowed(widthDefault) ||
    !isAllowed(heightDefault) ||
    widthDefault * heightDefault > size.pixelsMax
  ) {
    reader.refuse(place, 'has a default that breaks its own rule');
  }
  return size;
}

function readRoutes(
  reader: DocumentReader,
  value: unknown,
  place: string,
): readonly [CatalogRoute, ...CatalogRoute[]] {
  const [first, ...others] = reader.list(value, place, { min: 1, max: ROUTES_MAX }, (item, where) => {
    const members = reader.object(item, where, ['provider', 'upstream_model', 'cost_micros']);
    return {
      provider: reader.text(members['provider'], `${where}.provider`, {
        max: 50,
        pattern: /^[a-z][a-z0-9_]*$/,
      }),
      // The name becomes a part of the provider's URL.
      upstreamModel: reader.text(members['upstream_model'], `${where}.upstream_model`, {
        max: 2 * NAME_MAX,
        pattern: /^[a-zA-Z0-9@][a-zA-Z0-9@._/-]*$/,
      }),
      costMicros:
        members['cost_micros'] === undefined
          ? null
          : readPrice(reader, members['cost_micros'], `${where}.cost_micros`),
    };
  });
  return [first ?? { provider: '', upstreamModel: '', costMicros: null }, ...others];
}
