import type { PageDocument } from './document.js';
import { renderHtml, type PageFrame } from './render-html.js';

/** Renders the pages of a single visitor, which controllers return, with the header, style and footer of the public pages. */
export class PageShell {
  constructor(private readonly frame: PageFrame) {}

  render(
    page: Omit<PageDocument, 'description' | 'eyebrow' | 'badges' | 'sections' | 'jsonPath' | 'area'>,
  ): string {
    return renderHtml(
      {
        description: '',
        eyebrow: [],
        badges: [],
        sections: [],
        jsonPath: null,
        area: null,
        ...page,
        isPrivate: true,
      },
      this.frame,
    );
  }
}
