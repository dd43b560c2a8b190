/// <reference lib="dom" />
/** Small makers of elements; text is always text, never markup. */
type Child = Node | string | undefined | false;
type Attributes = Record<string, string | number | boolean | undefined | ((event: any) => void)>;

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child) element.append(child);
}

export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

export function s(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  fill(element, attributes, children);
  return element;
}

export const $ = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
export const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 23);

/** The end of an arrow, in the colour of its line. */
export const arrowHead = (id: string): SVGElement =>
  s(
    'marker',
    {
      id,
      viewBox: '0 0 8 8',
      refX: 7,
      refY: 4,
      markerWidth: 8,
      markerHeight: 8,
      orient: 'auto',
      markerUnits: 'userSpaceOnUse',
    },
    s('path', { d: 'M0,0L8,4L0,8z', class: 'tip' }),
  );
