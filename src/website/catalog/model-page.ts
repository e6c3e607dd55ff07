import type { PageFacts } from './page-facts.js';
import { formatUsd } from '../../platform/common/money.js';
import { MODALITIES } from '../../gateway/catalog/catalog.js';
import { GENERATIONS_PATH, type ApiField } from './api-facts.js';
import { isFree, modelPath, priceText, type PricedModel } from '../../gateway/catalog/catalog-data.js';
import {
  code,
  link,
  paragraph,
  withCode,
  type Block,
  type Fact,
  type PageDocument,
  type Section,
  type Text,
} from '../../platform/http/pages/document.js';
import { toQuestions } from './model-questions.js';
import { editSnippetsFor, snippetsFor } from './snippets.js';

/** Makes `/models/{maker}/{model}`. */
export function modelPage(facts: PageFacts, model: PricedModel): PageDocument {
  const { id, maker, name, tagline, family, typicalSeconds } = model;
  return {
    path: modelPath(model),
    title: `${name} by ${maker.name}: API and price`,
    description: `${tagline} ${priceText(model)} over an OpenAI-compatible API.`,
    eyebrow: [
      link('Models', '/models'),
      ' / ',
      link(maker.name, `/models?maker=${encodeURIComponent(maker.id)}`),
    ],
    heading: name,
    lead: tagline,
    badges: [
      priceText(model),
      family,
      ...(typicalSeconds === null ? [] : [`About ${typicalSeconds} s an image`]),
    ],
    opening: [],
    sections: [
      about(facts, model),
      quickstart(facts, model),
      ...editing(facts, model),
      limits(facts, model),
      reference('request', 'Request', `Body of POST ${GENERATIONS_PATH}`, facts.api.request, true),
      response(facts),
      errors(facts),
      {
        id: 'questions',
        heading: 'Questions',
        blocks: [{ kind: 'questions', questions: toQuestions(facts, model) }],
      },
      furtherLinks(facts, model),
    ],
    jsonPath: `/v1/catalog${modelPath(model)}`,
    area: 'models',
    subject: toProduct(facts, model),
  };
  function furtherLinks({ models }: PageFacts, { id: own }: PricedModel): Section {
    const other = models.find((one) => one.id !== own);
    const items: Text[] = [
      ...(other === undefined
        ? []
        : [[link(`Compare ${name} with ${other.name}`, comparePath([id, other.id]))]]),
      [link('More image models', '/collections/more-image-models')],
      [link(`More from ${maker.name}`, `/collections/more-from-maker?maker=${encodeURIComponent(maker.id)}`)],
      [link('Free models', '/collections/free')],
      [link('What is used most', '/rankings')],
    ];
    return { id: 'more', heading: 'More', blocks: [{ kind: 'list', items }] };
  }
}

/** Returns the product as schema.org specifies it, so that search engines can show its price. */
function toProduct({ publicUrl }: PageFacts, model: PricedModel): Readonly<Record<string, unknown>> {
  const url = `${publicUrl}${modelPath(model)}`;
  return {
    '@context': 'https://schema.org',
    '@type': 'Product',
    name: model.name,
    sku: model.id,
    description: model.tagline,
    category: 'Image generation model',
    brand: { '@type': 'Brand', name: model.maker.name },
    releaseDate: model.releasedOn,
    url,
    offers: {
      '@type': 'Offer',
      url,
      price: formatUsd(model.price.amountMicros).replace('$', ''),
      priceCurrency: 'USD',
      availability: 'https://schema.org/InStock',
      description: 'For one delivered image, from prepaid credit.',
    },
  };
}

export function comparePath(ids: readonly string[]): string {
  return `/compare?models=${ids.map(encodeURIComponent).join(',')}`;
}

function about({ api }: PageFacts, model: PricedModel): Section {
  return {
    id: 'about',
    heading: 'About',
    blocks: [
      ...model.description.map(paragraph),
      {
        kind: 'facts',
        facts: [
          { name: 'Model', value: [code(model.id)] },
          { name: 'Maker', value: model.maker.name },
          { name: 'Price', value: priceText(model) },
          { name: 'Modality', value: modalityText(model, api.hasEdits) },
          { name: 'Released', value: model.releasedOn },
          { name: 'Strengths', value: model.strengths.join(', ') },
          { name: 'Good for', value: model.useCases.join(', ') },
        ].filter(({ value }) => value !== ''),
      },
    ],
  };
}

/** Editing is mentioned only when the service has its route. */
export function modalityText({ modalities }: PricedModel, hasEdits: boolean): string {
  return modalities
    .filter((modality) => modality !== 'image_editing' || hasEdits)
    .map((modality) => MODALITIES[modality])
    .join(', ');
}

function quickstart({ publicUrl }: PageFacts, model: PricedModel): Section {
  const credit = isFree(model)
    ? 'This model needs no credit.'
    : 'The wallet needs credit for at least one image.';
  return {
    id: 'quickstart',
    heading: 'Quickstart',
    blocks: [
      paragraph([
        'Any OpenAI SDK works: set the base URL and your key. Put the key into ',
        code('COFFER_API_KEY'),
        `. ${credit}`,
      ]),
      ...snippetsFor(model.id, publicUrl).map((snippet): Block => ({ kind: 'code', ...snippet })),
    ],
  };
}

/** Returns nothing when the model or the service cannot edit images. */
function editing({ api, publicUrl }: PageFacts, model: PricedModel): Section[] {
  if (!api.hasEdits || !model.modalities.includes('image_editing')) return [];
  return [
    {
      id: 'editing',
      heading: 'Editing',
      blocks: [
        paragraph([
          `New images from up to ${model.referencesMax} of yours and a prompt, at the same price. Unless you name a `,
          code('size'),
          ', the result has that of your first image.',
        ]),
        ...editSnippetsFor(model.id, publicUrl).map((snippet): Block => ({ kind: 'code', ...snippet })),
      ],
    },
  ];
}

function limits(facts: PageFacts, model: PricedModel): Section {
  const { size, referencesMax } = model;
  const list: Fact[] = [
    { name: 'Size', value: `${size.widthDefault}x${size.heightDefault} unless you ask for another` },
    { name: 'Sides', value: `at least ${size.sideMin} pixels, multiples of ${size.sideStep}` },
    {
      name: 'Pixels',
      value: `at most ${size.pixelsMax.toLocaleString('en-US')} an image, at the same price`,
    },
    ...facts.api.request
      .filter(({ name }) => name === 'n')
      .map(({ type }): Fact => ({ name: 'Images a call', value: type.replace('integer, ', '') })),
    ...(facts.api.hasEdits ? [{ name: 'Reference images', value: `up to ${referencesMax}` }] : []),
    {
      name: 'Calls a minute',
      value: isFree(model) ? `${facts.freeCallsPerMinute} an account` : `${facts.callsPerMinute} a key`,
    },
    { name: 'Not offered', value: 'streaming, tools, vision, JSON mode, prompt caching' },
  ];
  return { id: 'limits', heading: 'Limits', blocks: [{ kind: 'facts', facts: list }] };
}

function reference(
  id: string,
  heading: string,
  caption: string,
  fields: readonly ApiField[],
  isRequest: boolean,
): Section {
  return { id, heading, blocks: [fieldTable(caption, fields, isRequest)] };
}

function fieldTable(caption: string, fields: readonly ApiField[], isRequest: boolean): Block {
  return {
    kind: 'table',
    caption,
    head: isRequest ? ['Field', 'Type', 'Default', 'Meaning'] : ['Field', 'Type', 'Meaning'],
    rows: fields.map(({ name, type, isRequired, standard, description }) => [
      [code(name)],
      type,
      ...(isRequest ? [isRequired ? 'required' : (standard ?? '')] : []),
      withCode(description),
    ]),
  };
}

function response({ api }: PageFacts): Section {
  return {
    id: 'response',
    heading: 'Response',
    blocks: [
      fieldTable('Body of the answer', api.response, false),
      fieldTable('Headers of the answer', api.responseHeaders, false),
    ],
  };
}

/** The statuses after which a client may send the same call again. */
const RETRYABLE_STATUSES: readonly number[] = [409, 429, 500, 503];

function errors({ api }: PageFacts): Section {
  return {
    id: 'errors',
    heading: 'Errors',
    blocks: [
      paragraph([
        'Errors have OpenAI’s shape. Branch on ',
        code('error.code'),
        '. Where another attempt cannot help although the status suggests it, the answer says ',
        code('x-should-retry: false'),
        '.',
      ]),
      {
        kind: 'table',
        caption: 'Errors of this route',
        head: ['Code', 'Status', 'Retry', 'Meaning'],
        rows: api.errors.map(({ status, type, code: name, summary }) => [
          [code(name)],
          [`${status} `, code(type)],
          RETRYABLE_STATUSES.includes(status) ? 'yes' : 'no',
          withCode(summary),
        ]),
      },
    ],
  };
}
