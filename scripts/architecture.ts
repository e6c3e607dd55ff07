/**
 * Draws how the rooms of `src/` import each other into docs/ARCHITECTURE.md, as Mermaid; with --check, only says whether the drawing
 * is up to date (`npm run architecture`, `npm run architecture:check`).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ROOMS, sources, targetsOf } from './source-map.js';

const DOCUMENT = fileURLToPath(new URL('../docs/ARCHITECTURE.md', import.meta.url));
const BEGIN = '<!-- drawn by `npm run architecture` -->';
const END = '<!-- end of the drawing -->';

type Arrows = Map<string, Set<string>>;

const wingOf = (room: string): string => room.split('/')[0] ?? room;
const idOf = (name: string): string => name.replace(/[^a-z]/g, '_');

/** Arrows between what `nameOf` makes of rooms, without those that other arrows imply. */
function readArrows(
  nameOf: (room: string) => string,
  isShown: (from: string, to: string) => boolean,
): Arrows {
  const arrows: Arrows = new Map();
  for (const source of sources) {
    for (const target of targetsOf(source)) {
      const [from, to] = [nameOf(source.room), nameOf(target.room)];
      if (from === to || !isShown(source.room, target.room)) continue;
      arrows.set(from, (arrows.get(from) ?? new Set()).add(to));
    }
  }
  return withoutImplied(arrows);
}

function withoutImplied(arrows: Arrows): Arrows {
  const reaches = (from: string, to: string): boolean =>
    [...(arrows.get(from) ?? [])].some((next) => next === to || reaches(next, to));
  const direct: Arrows = new Map();
  for (const [from, targets] of arrows) {
    const kept = [...targets].filter(
      (to) => ![...targets].some((other) => other !== to && reaches(other, to)),
    );
    direct.set(from, new Set(kept.sort()));
  }
  return direct;
}

export function drawArchitecture(): string {
  const wings = [...new Set(ROOMS.map(wingOf))];
  const lines = ['```mermaid', 'flowchart TD'];
  for (const wing of wings) {
    const rooms = ROOMS.filter((room) => wingOf(room) === wing);
    if (rooms.length === 1 && rooms[0] === wing) {
      lines.push(`  ${idOf(wing)}["${wing}"]`);
      continue;
    }
    lines.push(`  subgraph ${idOf(wing)}["${wing}"]`);
    for (const room of rooms)
      lines.push(`    ${idOf(room)}_["${room === wing ? wing : room.slice(wing.length + 1)}"]`);
    const within = readArrows(
      (room) => room,
      (from, to) => wingOf(from) === wing && wingOf(to) === wing,
    );
    for (const [from, targets] of within)
      for (const to of targets) lines.push(`    ${idOf(from)}_ --> ${idOf(to)}_`);
    lines.push('  end');
  }
  for (const [from, targets] of readArrows(wingOf, () => true)) {
    for (const to of targets) lines.push(`  ${idOf(from)} --> ${idOf(to)}`);
  }
  lines.push('```');
  return lines.join('\n');
}

export function withDrawing(document: string): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/ARCHITECTURE.md lacks "${BEGIN}" and "${END}".`);
  return `${document.slice(0, begin + BEGIN.length)}\n\n${drawArchitecture()}\n\n${document.slice(end)}`;
}

function main(): void {
  const present = readFileSync(DOCUMENT, 'utf8');
  const wanted = withDrawing(present);
  if (wanted === present) {
    console.log('The drawing in docs/ARCHITECTURE.md is up to date.');
  } else if (process.argv.includes('--check')) {
    console.error(
      'The drawing in docs/ARCHITECTURE.md is out of date: run `npm run architecture` and commit it.',
    );
    process.exitCode = 1;
  } else {
    writeFileSync(DOCUMENT, wanted);
    console.log('The drawing in docs/ARCHITECTURE.md is written.');
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
