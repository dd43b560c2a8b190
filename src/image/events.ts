/** The Docker events of images: id is the image's id, attributes its labels and its name. */
import type { Bus } from '../bus/bus.ts';
import type { Image } from './port.ts';

export type ImageAction = 'tag' | 'untag' | 'delete' | 'import' | 'load' | 'save';

export function publishImage(
  bus: Bus,
  action: ImageAction,
  image: Pick<Image, 'id' | 'config'>,
  name = image.id,
): void {
  const attributes = { ...image.config.config.Labels, name };
  bus.publish({ topic: 'event', type: 'image', action, id: image.id, attributes });
}
