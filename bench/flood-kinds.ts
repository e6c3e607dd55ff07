/** What a customer may flood a service with. */
export const FLOOD_KINDS = ['generations', 'edits', 'reads', 'retries', 'answers'] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];

export const isFloodKind = (name: string): name is FloodKind =>
  (FLOOD_KINDS as readonly string[]).includes(name);
