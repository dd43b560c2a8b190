/** A container's writable layer and config as a new image, the container frozen meanwhile. */
import { applyChanges } from '../build/changes.ts';
import { conflict } from '../errors.ts';
import type { CommitConfig } from '../generated/types/commit-config.ts';
import type { ImageRunConfig, ImageStore, RootfsStore } from '../image/port.ts';
import type { ContainerConfig } from './config.ts';
import { mergeConfig } from './merge.ts';
import type { ContainerRecord } from './record.ts';
import type { Containers } from './service.ts';

export interface CommitDeps {
  containers: Containers;
  images: ImageStore;
  rootfs: RootfsStore;
  publish(record: ContainerRecord, action: string, attributes?: Record<string, string>): void;
}

export interface CommitOptions {
  repository?: string;
  tag?: string;
  comment: string;
  author: string;
  pause: boolean;
  /** Dockerfile instructions. */
  changes: readonly string[];
  /** Overrides of the container's config. */
  config?: CommitConfig;
}

/** What of a container's config belongs into an image. */
function runConfig(config: ContainerConfig): ImageRunConfig {
  const {
    User,
    ExposedPorts,
    Env,
    Entrypoint,
    Cmd,
    Volumes,
    WorkingDir,
    Labels,
    StopSignal,
    Healthcheck,
    Shell,
    OnBuild,
  } = config;
  const given = {
    User,
    ExposedPorts,
    Env,
    Entrypoint,
    Cmd,
    Volumes,
    WorkingDir,
    Labels,
    StopSignal,
    Healthcheck,
    Shell,
    OnBuild,
  };
  return Object.fromEntries(
    Object.entries(given).filter(([, value]) => value != null && value !== ''),
  ) as ImageRunConfig;
}

/** Returns the image's id. */
export async function commitContainer(deps: CommitDeps, reference: string, options: CommitOptions): Promise<string> {
  const record = deps.containers.resolve(reference);
  if (record.phase === 'removing' || record.phase === 'dead')
    throw conflict(`You cannot commit container ${record.id} which is being removed`);
  const parent = deps.images.get(record.image);
  const own = runConfig(record.config);
  const config = applyChanges(options.config ? runConfig(mergeConfig(options.config, own)) : own, options.changes);
  const freeze = options.pause && record.phase === 'running';
  if (freeze) await deps.containers.pause(record.id);
  try {
    const image = await deps.images.create({
      parent: parent.id,
      layers: [...parent.config.rootfs.diff_ids, deps.rootfs.diff(record.id)],
      config: {
        architecture: parent.config.architecture,
        os: parent.config.os,
        ...(parent.config.variant ? { variant: parent.config.variant } : {}),
        created: new Date().toISOString(),
        author: options.author || parent.config.author,
        config,
        history: [
          ...(parent.config.history ?? []),
          {
            created: new Date().toISOString(),
            created_by: [record.path, ...record.args].join(' '),
            ...(options.author ? { author: options.author } : {}),
            ...(options.comment ? { comment: options.comment } : {}),
          },
        ],
      },
      ...(options.repository ? { tag: `${options.repository}${options.tag ? `:${options.tag}` : ''}` } : {}),
    });
    deps.publish(record, 'commit', { comment: options.comment, imageID: image.id, imageRef: options.repository ?? '' });
    return image.id;
  } finally {
    if (freeze) await deps.containers.unpause(record.id).catch(() => {});
  }
}
