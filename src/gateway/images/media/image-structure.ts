/** The result of checking the structure of a file: the size of its picture, or what is wrong with the file. */
export type ImageStructure =
  | { readonly fault: null; readonly width: number; readonly height: number }
  /** A description for the log. */
  | { readonly fault: string };

export function damaged(fault: string): ImageStructure {
  return { fault };
}

export const CUT_SHORT = damaged('it is cut short');
