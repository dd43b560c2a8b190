/** The event service shims send to. Exits are learnt from Wait; only OOM comes from here. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { ForwardRequestSchema, TaskOOMSchema } from '../../generated/proto/containerd/events_pb.ts';
import type { TtrpcHandler } from '../ttrpc/server.ts';

const EMPTY = toBinary(EmptySchema, create(EmptySchema));

export const eventHandler =
  (onOom: (container: string) => void): TtrpcHandler =>
  (service, method, payload) => {
    if (service !== 'containerd.services.events.ttrpc.v1.Events' || method !== 'Forward') return undefined;
    const { envelope } = fromBinary(ForwardRequestSchema, payload);
    if (envelope?.topic === '/tasks/oom' && envelope.event) {
      onOom(fromBinary(TaskOOMSchema, envelope.event.value).containerId);
    }
    return EMPTY;
  };
