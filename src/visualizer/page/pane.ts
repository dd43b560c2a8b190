/// <reference lib="dom" />
/** A pane that holds a drawing larger than itself: zoom by buttons, keys and Ctrl+wheel, pan by dragging, scrolling and arrow keys. */
import { h } from './dom.ts';

const SMALLEST = 0.35;
const LARGEST = 2.5;
/** Fitting never makes text smaller than this. */
const FIT_SMALLEST = 0.9;
const FIT_LARGEST = 1.15;
const EDGE = 40;

export class Pane {
  readonly element: HTMLElement;
  #scroll: HTMLElement;
  #tools: HTMLElement;
  #zoom: number | undefined;

  constructor(extra: HTMLElement[]) {
    const button = (text: string, label: string, act: () => void): HTMLElement =>
      h('button', { type: 'button', 'aria-label': label, title: label, click: act }, text);
    this.#scroll = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Drawing' });
    this.#tools = h(
      'div',
      { class: 'zoom', role: 'toolbar', 'aria-label': 'Zoom' },
      button('−', 'Smaller (-)', () => this.zoomBy(1 / 1.2)),
      button('+', 'Larger (+)', () => this.zoomBy(1.2)),
      button('Fit', 'Fit (0)', () => this.fit()),
      ...extra,
    );
    this.element = h('div', { class: 'pane' }, this.#scroll, this.#tools);
    this.#scroll.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    this.#drag();
  }

  /** Shows a drawing; one with `data-width` and `data-height` can be zoomed, others stay as they are. */
  show(drawing: Element): void {
    const anchor = this.#anchor();
    this.#scroll.replaceChildren(drawing);
    this.#tools.hidden = !this.#size();
    this.#apply();
    // A drawing that was laid out anew does not jump away from who looks at it.
    const now = anchor && this.#state(anchor.id)?.getBoundingClientRect();
    if (!now) return;
    this.#scroll.scrollLeft += now.left - anchor.left;
    this.#scroll.scrollTop += now.top - anchor.top;
  }

  /** The focused state, else the innermost current one, and where it is on the screen. */
  #anchor(): { id: string; left: number; top: number } | undefined {
    const focused = document.activeElement?.closest('.scroll [data-state]');
    const element = focused ?? [...this.#scroll.querySelectorAll('[data-on=true]')].at(-1);
    if (!element) return undefined;
    const { left, top } = element.getBoundingClientRect();
    return { id: element.getAttribute('data-state')!, left, top };
  }

  #state(id: string): Element | null {
    return this.#scroll.querySelector(`[data-state="${CSS.escape(id)}"]`);
  }

  /** Room for a drawing that fits without scrolling sideways. */
  get width(): number {
    return Math.max(560, this.#scroll.clientWidth - 32);
  }

  zoomBy(factor: number): void {
    const from = this.#scale();
    this.#zoom = Math.min(LARGEST, Math.max(SMALLEST, from * factor));
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.#scroll;
    this.#apply();
    // What is in the middle stays there.
    const ratio = this.#zoom / from;
    this.#scroll.scrollLeft = (scrollLeft + clientWidth / 2) * ratio - clientWidth / 2;
    this.#scroll.scrollTop = (scrollTop + clientHeight / 2) * ratio - clientHeight / 2;
  }

  fit(): void {
    this.#zoom = undefined;
    this.#apply();
  }

  /** The newest is at the end. */
  toEnd(): void {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** Brings an element of the drawing into the middle; of one that is larger than the pane, its beginning. */
  reveal(element: Element): void {
    const [box, pane] = [element.getBoundingClientRect(), this.#scroll.getBoundingClientRect()];
    const shift = (from: number, size: number, start: number, room: number): number =>
      from - start - (size < room ? (room - size) / 2 : EDGE);
    this.#scroll.scrollLeft += shift(box.left, box.width, pane.left, pane.width);
    this.#scroll.scrollTop += shift(box.top, box.height, pane.top, pane.height);
  }

  #drawing(): SVGElement | null {
    return this.#scroll.querySelector('svg[data-width]');
  }

  #size(): { width: number; height: number } | undefined {
    const drawing = this.#drawing();
    return drawing ? { width: Number(drawing.dataset.width), height: Number(drawing.dataset.height) } : undefined;
  }

  #scale(): number {
    const size = this.#size();
    if (this.#zoom !== undefined || !size) return this.#zoom ?? 1;
    const fits = Math.min((this.#scroll.clientWidth - 32) / size.width, (this.#scroll.clientHeight - 32) / size.height);
    return Math.min(FIT_LARGEST, Math.max(FIT_SMALLEST, fits));
  }

  #apply(): void {
    const size = this.#size();
    if (!size) return;
    const scale = this.#scale();
    this.#drawing()!.setAttribute('width', String(size.width * scale));
    this.#drawing()!.setAttribute('height', String(size.height * scale));
  }

  #wheel(event: WheelEvent): void {
    if (!event.ctrlKey || !this.#size()) return;
    event.preventDefault();
    this.zoomBy(event.deltaY < 0 ? 1.1 : 1 / 1.1);
  }

  #drag(): void {
    let from: { x: number; y: number; left: number; top: number } | undefined;
    const scroll = this.#scroll;
    scroll.addEventListener('pointerdown', (event) => {
      if (event.pointerType !== 'mouse' || event.button !== 0 || !this.#size()) return;
      from = { x: event.clientX, y: event.clientY, left: scroll.scrollLeft, top: scroll.scrollTop };
    });
    scroll.addEventListener('pointermove', (event) => {
      if (!from) return;
      scroll.scrollLeft = from.left + from.x - event.clientX;
      scroll.scrollTop = from.top + from.y - event.clientY;
    });
    for (const type of ['pointerup', 'pointerleave', 'pointercancel'] as const)
      scroll.addEventListener(type, () => (from = undefined));
  }
}
