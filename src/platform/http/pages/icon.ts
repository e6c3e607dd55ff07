import { hash } from 'node:crypto';

/** The diamond of the header, in a colour that is visible on light and on dark backgrounds. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="6.5" y="6.5" width="19" height="19" rx="4.5" transform="rotate(45 16 16)" fill="#b57a1c"/></svg>`;

export const ICON_PATH = `/assets/icon-${hash('sha256', ICON, 'hex').slice(0, 16)}.svg`;

/** The same as a PNG of 32 pixels, for those who ask for `/favicon.ico` without having read a page. */
export const ICON_PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAACAAAAAgBAMAAACBVGfHAAAAMFBMVEVMaXGydyC0eRuwdR21eRu0eRy5fxe1eRx/fwC0ehy1eRu1ehy0eBy0ehz/' +
    'AAC1ehyeQbXnAAAAD3RSTlMAF9QahdgWxgLZStdIxAEvu2j8AAAACXBIWXMAAAsTAAALEwEAmpwYAAAAgklEQVQoz2NgoBrgWOLVgCIg/v9/ITKf' +
    'Uf///58GSAJC/4FgMqoCFCVgBUhKIAqQlEAVwJUw7ocJ/BYAC7T/h4MKsMB6hMAvsIA/QuALdgEkLX/QDb2H3VqGJJhAMNSlbFCnf4X7LglVAUzJ' +
    'V6QQSkJVAFGCrAAcyBfRosHnAfUiFQDhP6gui+XdfQAAAABJRU5ErkJggg==',
  'base64',
);
