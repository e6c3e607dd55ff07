import { parse, type DefaultTreeAdapterTypes } from 'parse5';

type Node = DefaultTreeAdapterTypes.Node;
type Element = DefaultTreeAdapterTypes.Element;

/** A page as a browser reads it, by the standard's own algorithm. */
export class HtmlPage {
  /** What the parser had to repair: a page of ours needs none of it. */
  readonly faults: string[] = [];
  readonly elements: readonly Element[];

  constructor(html: string) {
    const tree = parse(html, { onParseError: ({ code }) => void this.faults.push(code) });
    this.elements = elementsBelow(tree);
  }

  all(tag: string): Element[] {
    return this.elements.filter(({ tagName }) => tagName === tag);
  }

  /** The values of an attribute, wherever it is. */
  values(name: string): string[] {
    return this.elements.flatMap((element) => attribute(element, name) ?? []);
  }

  get text(): string {
    const [root] = this.all('body');
    return root === undefined ? '' : textOf(root);
  }

  /** Tags and the names of their attributes, without any text or value: what data must not be able to change. */
  get skeleton(): string {
    return this.elements
      .map(({ tagName, attrs }) => `${tagName}[${attrs.map(({ name }) => name).join(' ')}]`)
      .join('\n');
  }
}

export function attribute(element: Element, name: string): string | undefined {
  return element.attrs.find((one) => one.name === name)?.value;
}

export function textOf(node: Node): string {
  if ('value' in node) return node.value;
  return 'childNodes' in node ? node.childNodes.map(textOf).join('') : '';
}

/** What a screen reader says of a link, a control or a picture; any other element needs nothing. */
export function hasName(element: Element): boolean {
  const { tagName, parentNode } = element;
  if (!['a', 'button', 'input', 'select', 'textarea', 'img', 'summary'].includes(tagName)) return true;
  if (attribute(element, 'type') === 'hidden') return true;
  const isLabelled =
    parentNode !== null && parentNode.nodeName === 'label' && textOf(parentNode).trim() !== '';
  const own = attribute(element, 'aria-label') ?? attribute(element, 'alt') ?? textOf(element);
  return isLabelled || own.trim() !== '';
}

function elementsBelow(node: Node): Element[] {
  const below = 'childNodes' in node ? node.childNodes.flatMap(elementsBelow) : [];
  return 'tagName' in node ? [node, ...below] : below;
}
