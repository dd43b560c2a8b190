/** Carries out steps on the thread it is called on, which for that time is in the namespace they are about. Synchronous throughout. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { isErrno, mount, MS } from '../../host/ffi.ts';
import { boundSocket, enterNetworkNamespace, linkIndex, newNetworkNamespace, portOf } from '../../host/network-ffi.ts';
import { addressBytes } from '../address.ts';
import type { BoundPair } from '../dns/server.ts';
import * as nl from './message.ts';
import { NetlinkSocket } from './socket.ts';
import type { LinkStep, LinkTask } from './steps.ts';

const BIND_TRIES = 8;

export function runLinkTask(task: LinkTask): unknown {
  if (task.kind === 'namespace') return makeNamespace(task.path, task.ipv6);
  if (task.kind === 'bind') return within(task.path, () => bindPair(addressBytes(task.address)));
  runSteps(task.host);
  const { inside } = task;
  if (!inside) return undefined;
  return within(inside.path, () => {
    for (const [path, value] of Object.entries(inside.sysctls)) writeFileSync(`/proc/sys/${path}`, value);
    runSteps(inside.steps);
  });
}

function within<T>(path: string, work: () => T): T {
  const fd = openSync(path, 'r');
  try {
    return elsewhere(() => enterNetworkNamespace(fd), work);
  } finally {
    closeSync(fd);
  }
}

/** The port that the kernel gives for datagrams is nearly always free for streams too. */
function bindPair(address: Uint8Array): BoundPair {
  for (let tries = 0; ; tries++) {
    const udp = boundSocket('udp', address, 0);
    try {
      return { udp, tcp: boundSocket('tcp', address, portOf(udp)) };
    } catch (error) {
      closeSync(udp);
      if (!isErrno(error, 'EADDRINUSE') || tries >= BIND_TRIES) throw error;
    }
  }
}

/**
 * What every new namespace gets. IPv6 is off on its links, whatever the host's default is, until an endpoint has an
 * IPv6 address, and then works at once, without detection of duplicates.
 */
function makeNamespace(path: string, ipv6: boolean): void {
  elsewhere(newNetworkNamespace, () => {
    const defaults = '/proc/sys/net/ipv6/conf/default';
    if (ipv6) {
      writeFileSync(`${defaults}/disable_ipv6`, '1');
      writeFileSync(`${defaults}/accept_dad`, '0');
    }
    runSteps([{ kind: 'up', link: 'lo' }]);
    mount('/proc/thread-self/ns/net', path, '', MS.BIND);
  });
}

/** The thread comes back to its own namespace whatever happens. */
function elsewhere<T>(go: () => void, work: () => T): T {
  const own = openSync('/proc/thread-self/ns/net', 'r');
  try {
    go();
    try {
      return work();
    } finally {
      comeBack(own);
    }
  } finally {
    closeSync(own);
  }
}

/** A thread that cannot come back must do nothing more: in a worker this ends the thread, and the pool makes another. */
function comeBack(own: number): void {
  try {
    enterNetworkNamespace(own);
  } catch {
    process.exit(1);
  }
}

function runSteps(steps: readonly LinkStep[]): void {
  if (steps.length === 0) return;
  const socket = new NetlinkSocket();
  try {
    for (const step of steps) runStep(socket, step);
  } finally {
    socket.close();
  }
}

function runStep(socket: NetlinkSocket, step: LinkStep): void {
  switch (step.kind) {
    case 'veth':
      return makePair(socket, step);
    case 'up':
      return socket.request(`link ${step.link} up`, nl.RTM.NEWLINK, 0, nl.linkPart(linkIndex(step.link), nl.IFF_UP));
    case 'address':
      return addAddress(socket, step);
    case 'default-route':
      return setRoute(socket, step);
    case 'delete':
      return deleteLink(socket, step.link);
  }
}

function makePair(socket: NetlinkSocket, step: Extract<LinkStep, { kind: 'veth' }>): void {
  const { attribute, IFLA } = nl;
  const { peer } = step;
  const netns = openSync(peer.netnsPath, 'r');
  try {
    const other = [
      nl.linkPart(0),
      attribute(IFLA.IFNAME, nl.text(peer.name)),
      attribute(IFLA.MTU, nl.u32(step.mtu)),
      attribute(IFLA.NET_NS_FD, nl.u32(netns)),
      ...(peer.mac ? [attribute(IFLA.ADDRESS, Buffer.from(peer.mac.replaceAll(':', ''), 'hex'))] : []),
    ];
    const kind = attribute(IFLA.INFO_KIND, nl.text('veth'));
    const data = attribute(IFLA.INFO_DATA, attribute(IFLA.VETH_INFO_PEER, ...other));
    socket.request(
      `link add ${step.name}`,
      nl.RTM.NEWLINK,
      nl.NLM_F.CREATE | nl.NLM_F.EXCL,
      nl.linkPart(0),
      attribute(IFLA.IFNAME, nl.text(step.name)),
      attribute(IFLA.MTU, nl.u32(step.mtu)),
      attribute(IFLA.MASTER, nl.u32(linkIndex(step.master))),
      attribute(IFLA.LINKINFO, kind, data),
    );
  } finally {
    closeSync(netns);
  }
  const port = attribute(
    IFLA.INFO_SLAVE_DATA,
    attribute(IFLA.BRPORT_MODE, nl.u8(Number(step.hairpin))),
    attribute(IFLA.BRPORT_ISOLATED, nl.u8(Number(step.isolated))),
  );
  const index = linkIndex(step.name);
  const change = (...parts: Buffer[]): void => socket.request(`link set ${step.name}`, nl.RTM.NEWLINK, 0, ...parts);
  change(nl.linkPart(index), attribute(IFLA.IFALIAS, nl.text(step.alias)));
  change(nl.linkPart(index), attribute(IFLA.LINKINFO, attribute(IFLA.INFO_SLAVE_KIND, nl.text('bridge')), port));
  change(nl.linkPart(index, nl.IFF_UP));
}

function addAddress(socket: NetlinkSocket, step: Extract<LinkStep, { kind: 'address' }>): void {
  const { attribute, IFA } = nl;
  const bytes = addressBytes(step.address);
  const v6 = isIPv6(step.address);
  socket.request(
    `addr add ${step.address}/${step.bits} dev ${step.link}`,
    nl.RTM.NEWADDR,
    nl.NLM_F.CREATE | nl.NLM_F.EXCL,
    nl.addressPart(v6 ? nl.AF.INET6 : nl.AF.INET, step.bits, linkIndex(step.link)),
    attribute(IFA.LOCAL, bytes),
    attribute(IFA.ADDRESS, bytes),
    ...(v6 ? [attribute(IFA.FLAGS, nl.u32(IFA.F_NODAD))] : []),
  );
}

function setRoute(socket: NetlinkSocket, step: Extract<LinkStep, { kind: 'default-route' }>): void {
  const { attribute, RTA } = nl;
  socket.request(
    `route replace default via ${step.gateway || 'no gateway'} dev ${step.link}`,
    nl.RTM.NEWROUTE,
    nl.NLM_F.CREATE | nl.NLM_F.REPLACE,
    nl.routePart(step.family === 6 ? nl.AF.INET6 : nl.AF.INET, !step.gateway),
    attribute(RTA.OIF, nl.u32(linkIndex(step.link))),
    ...(step.gateway ? [attribute(RTA.GATEWAY, addressBytes(step.gateway))] : []),
  );
}

function deleteLink(socket: NetlinkSocket, link: string): void {
  try {
    socket.request(`link del ${link}`, nl.RTM.DELLINK, 0, nl.linkPart(linkIndex(link)));
  } catch (error) {
    if (!isErrno(error, 'ENODEV')) throw error;
  }
}
