/** The volume chart's effects over its driver. The driver itself bounds how long it takes. */
import { effect } from '../reactor/effect.ts';
import type { VolumeDriver } from './driver.ts';
import { volumeMachine } from './machine.ts';
import type { DriverCall } from './setup.ts';

/** A plugin has two minutes to mount, half a minute for all else; finding it and making the intent durable come first. */
const DRIVER_MS = 3 * 60_000;

/** Finds the driver of a record; throws notFound when its plugin is gone. */
export type FindDriver = (name: string) => Promise<VolumeDriver>;

const over = (find: FindDriver, work: (driver: VolumeDriver, call: DriverCall) => Promise<string>) =>
  effect<string, DriverCall>(DRIVER_MS, async ({ input }) => work(await find(input.record.driver), input));

/** `durable`: an intent is on disk before anything is made or taken away for it. */
export const volumeLogic = (find: FindDriver, durable: () => Promise<void>) =>
  volumeMachine.provide({
    actors: {
      create: over(find, async (driver, { record }) => {
        await durable();
        try {
          await driver.create(record.name, record.options);
        } catch (error) {
          // What was half made is nobody's; the cause is worth more than a failure to clear it.
          await driver.remove(record.name, record.options).catch(() => {});
          throw error;
        }
        return driver.path(record.name);
      }),
      mount: over(find, (driver, { record, user }) => driver.mount(record.name, user, record.options)),
      unmount: over(find, async (driver, { record, user, last }) => {
        await driver.unmount(record.name, user, last, record.options);
        return record.mountpoint;
      }),
      remove: over(find, async (driver, { record }) => {
        await durable();
        await driver.remove(record.name, record.options);
        return '';
      }),
    },
  });
