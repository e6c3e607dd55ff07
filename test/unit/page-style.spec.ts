import { describe, expect, it } from '@jest/globals';
import { STYLE } from '../../src/platform/http/pages/style.js';

/* What WCAG 2.2 AA asks of colours and of the focus, read from the style sheet itself. */

type Palette = ReadonlyMap<string, string>;

const [light = '', dark = ''] = [...STYLE.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) => block ?? '');

function paletteOf(...blocks: readonly string[]): Palette {
  const entries = blocks.flatMap((block) => [...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)]);
  return new Map(entries.map(([, name = '', colour = '']) => [name, colour]));
}

const PALETTES: readonly (readonly [string, Palette])[] = [
  ['light', paletteOf(light)],
  ['dark', paletteOf(light, dark)],
];

function luminanceOf(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.040_45 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(palette: Palette, one: string, other: string): number {
  const [lighter = 0, darker = 0] = [one, other]
    .map((name) => luminanceOf(palette.get(name) ?? ''))
    .sort((first, second) => second - first);
  return (lighter + 0.05) / (darker + 0.05);
}

/** Each color of text, and the backgrounds that it is shown on. */
const TEXTS: Readonly<Record<string, readonly string[]>> = {
  ink: ['ground', 'panel', 'sunken', 'warn', 'accent-soft'],
  soft: ['ground', 'panel', 'sunken'],
  accent: ['ground', 'panel', 'sunken', 'warn', 'accent-soft'],
  code: ['ground', 'panel', 'sunken'],
};

describe.each(PALETTES)('the %s pages', (_name, palette) => {
  it('have text of a contrast of 4.5 on every background that it is shown on', () => {
    const faint = Object.entries(TEXTS).flatMap(([text, grounds]) =>
      grounds.flatMap((ground) => {
        const value = contrast(palette, text, ground);
        return value >= 4.5 ? [] : [`${text} on ${ground}: ${value.toFixed(2)}`];
      }),
    );
    expect(faint).toEqual([]);
  });

  it('show the focus with a contrast of 3 to every ground', () => {
    for (const ground of ['ground', 'panel', 'sunken', 'warn', 'accent-soft']) {
      expect({ ground, isSeen: contrast(palette, 'focus', ground) >= 3 }).toEqual({ ground, isSeen: true });
    }
  });
});

describe('the focus', () => {
  it('is outlined on every element, and taken away only where another part of it is outlined', () => {
    expect(STYLE).toMatch(/^:focus-visible \{ outline: [23]px solid var\(--focus\)/m);
    const without = [...STYLE.matchAll(/^(.*):focus-visible \{[^}]*outline: (?:none|0)/gm)].map(
      ([, one]) => one,
    );
    for (const selector of without)
      expect(STYLE).toContain(`${selector}:focus-visible::after { outline: 3px solid`);
    expect(STYLE.match(/outline: (?:none|0)\b/g)?.length ?? 0).toBe(without.length);
  });
});

describe('a table on a narrow screen', () => {
  it('has its rows stacked, each cell after the name of its column, so that nothing of it is outside the screen', () => {
    const narrow = STYLE.slice(STYLE.lastIndexOf('@media (max-width'));
    expect(narrow).toMatch(/^ *table\[role="table"\], [^{]*\btd\b[^{]*\{ display: block;/m);
    expect(narrow).toMatch(/^ *table\[role="table"\] td::before \{ content: attr\(data-column\)/m);
  });
});
