/** Checks limits as dockerd does: contradictions are refused, what the kernel lacks is dropped with a warning. */
import { invalid } from '../../errors.ts';
import { parseCpuList } from '../../host/cgroup.ts';
import type { CgroupFeature, HostFacts } from '../../host/port.ts';
import type { ResourceConfig } from './docker-types.ts';

const MIN_MEMORY = 6 << 20;

export interface ResourceCheck<T extends ResourceConfig> {
  settings: T;
  warnings: string[];
}

/** Works on a copy: `discard` takes settings away that this kernel cannot keep. */
class Review<T extends ResourceConfig> {
  readonly settings: T;
  readonly warnings: string[] = [];
  readonly #features: ReadonlySet<CgroupFeature> | undefined;

  constructor(settings: T, features: ReadonlySet<CgroupFeature> | undefined) {
    this.settings = { ...settings };
    this.#features = features;
  }

  supports(feature: CgroupFeature): boolean {
    return this.#features === undefined || this.#features.has(feature);
  }

  discard(changes: Partial<ResourceConfig>, warning: string): void {
    Object.assign(this.settings, changes);
    this.warnings.push(warning);
  }
}

function checkMemory(review: Review<ResourceConfig>, update: boolean): void {
  const { settings } = review;
  if (settings.MemorySwappiness === -1) settings.MemorySwappiness = null;
  if (settings.Memory && settings.Memory < MIN_MEMORY) throw invalid('Minimum memory limit allowed is 6MB');
  if ((settings.Memory ?? 0) > 0 && !review.supports('memory')) {
    review.discard(
      { Memory: 0, MemorySwap: -1 },
      'Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.',
    );
  }
  checkSwap(review, update);
  const swappiness = settings.MemorySwappiness;
  if (swappiness != null && !review.supports('swappiness')) {
    review.discard(
      { MemorySwappiness: null },
      'Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.',
    );
  } else if (swappiness != null && (swappiness < 0 || swappiness > 100)) {
    throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  }
  checkReservation(review);
}

function checkSwap(review: Review<ResourceConfig>, update: boolean): void {
  const { settings } = review;
  const [memory, swap] = [settings.Memory ?? 0, settings.MemorySwap ?? 0];
  if (memory > 0 && swap !== -1 && !review.supports('swap')) {
    review.discard(
      { MemorySwap: -1 },
      'Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.',
    );
    return;
  }
  if (memory > 0 && swap > 0 && swap < memory) {
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  }
  if (memory === 0 && swap > 0 && !update) {
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  }
}

function checkReservation(review: Review<ResourceConfig>): void {
  const { settings } = review;
  const [memory, reservation] = [settings.Memory ?? 0, settings.MemoryReservation ?? 0];
  if (reservation > 0 && !review.supports('reservation')) {
    review.discard(
      { MemoryReservation: 0 },
      'Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.',
    );
    return;
  }
  if (reservation > 0 && reservation < MIN_MEMORY) throw invalid('Minimum memory reservation allowed is 6MB');
  if (memory > 0 && reservation > 0 && memory < reservation) {
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage');
  }
}

function checkOomAndPids(review: Review<ResourceConfig>): void {
  const { settings } = review;
  if (settings.OomKillDisable != null && !review.supports('oom-kill-disable')) {
    const asked = settings.OomKillDisable;
    settings.OomKillDisable = null;
    if (asked) review.warnings.push('Your kernel does not support OomKillDisable. OomKillDisable discarded.');
  }
  if (settings.OomKillDisable && !settings.Memory) {
    review.warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.',
    );
  }
  if (settings.PidsLimit != null && !review.supports('pids')) {
    const asked = settings.PidsLimit;
    settings.PidsLimit = null;
    if (asked > 0) {
      review.warnings.push(
        'Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.',
      );
    }
  }
}

function checkCpu(review: Review<ResourceConfig>, cpus: number): void {
  const { settings } = review;
  const [nano, period, quota] = [settings.NanoCpus ?? 0, settings.CpuPeriod ?? 0, settings.CpuQuota ?? 0];
  if (nano > 0 && period > 0) throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (nano > 0 && quota > 0) throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (nano > 0 && !review.supports('cpu-cfs')) {
    throw invalid(
      'NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted',
    );
  }
  if (nano < 0 || nano > cpus * 1e9) {
    throw invalid(`range of CPUs is from 0.01 to ${cpus}.00, as there are only ${cpus} CPUs available`);
  }
  if ((settings.CpuShares ?? 0) < 0) {
    throw invalid(`invalid CPU shares (${settings.CpuShares}): value must be a positive integer`);
  }
  if ((settings.CpuShares ?? 0) > 0 && !review.supports('cpu-shares')) {
    review.discard(
      { CpuShares: 0 },
      'Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.',
    );
  }
  if ((period !== 0 || quota !== 0) && !review.supports('cpu-cfs')) {
    review.discard(
      { CpuPeriod: 0, CpuQuota: 0 },
      'Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.',
    );
    return;
  }
  if (period !== 0 && (period < 1000 || period > 1_000_000)) {
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  }
  if (quota > 0 && quota < 1000) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
}

function checkRealtime(review: Review<ResourceConfig>): void {
  const { settings } = review;
  const [period, runtime] = [settings.CpuRealtimePeriod ?? 0, settings.CpuRealtimeRuntime ?? 0];
  if ((period || runtime) && !review.supports('cpu-realtime')) {
    throw invalid('kernel does not support CPU real-time scheduler');
  }
  if (period && runtime > period) {
    throw invalid('cpu real-time runtime cannot be higher than cpu real-time period');
  }
}

function checkCpuset(review: Review<ResourceConfig>, available: HostFacts['cpuset']): void {
  const { settings } = review;
  if ((settings.CpusetCpus || settings.CpusetMems) && !review.supports('cpuset')) {
    review.discard(
      { CpusetCpus: '', CpusetMems: '' },
      'Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.',
    );
  }
  checkList('cpuset cpus', 'CPUs', settings.CpusetCpus ?? '', available?.cpus);
  checkList('cpuset mems', 'memory nodes', settings.CpusetMems ?? '', available?.mems);
}

function checkList(name: string, what: string, requested: string, available: string | undefined): void {
  const wanted = parseCpuList(requested);
  if (!wanted) throw invalid(`Invalid value ${requested} for ${name}: invalid format: ${requested}`);
  const present = available === undefined ? undefined : parseCpuList(available);
  if (present && ![...wanted].every((number) => present.has(number))) {
    throw invalid(`Requested ${what} are not available - requested ${requested}, available: ${available}`);
  }
}

const THROTTLES = [
  ['BlkioDeviceReadBps', 'BPS Block I/O read limit', 'Block I/O BPS read limit'],
  ['BlkioDeviceWriteBps', 'BPS Block I/O write limit', 'Block I/O BPS write limit'],
  ['BlkioDeviceReadIOps', 'IOPS Block read limit', 'Block I/O IOPS read limit'],
  ['BlkioDeviceWriteIOps', 'IOPS Block write limit', 'Block I/O IOPS write limit'],
] as const;

function checkBlkio(review: Review<ResourceConfig>): void {
  const { settings } = review;
  const weight = settings.BlkioWeight ?? 0;
  if (weight > 0 && !review.supports('blkio-weight')) {
    review.discard(
      { BlkioWeight: 0 },
      'Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.',
    );
  } else if (weight !== 0 && (weight < 10 || weight > 1000)) {
    throw invalid('Range of blkio weight is from 10 to 1000');
  }
  if (settings.IOMaximumBandwidth || settings.IOMaximumIOps) {
    throw invalid('Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps');
  }
  if (settings.BlkioWeightDevice?.length && !review.supports('blkio-weight-device')) {
    review.discard(
      { BlkioWeightDevice: [] },
      'Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.',
    );
  }
  for (const [key, limit, discarded] of THROTTLES) {
    if (settings[key]?.length && !review.supports('blkio-throttle')) {
      review.discard(
        { [key]: [] },
        `Your kernel does not support ${limit} or the cgroup is not mounted. ${discarded} discarded.`,
      );
    }
  }
}

/** `update`: limits are changed one by one, so some may be missing that a creation would need. */
export function validateResources<T extends ResourceConfig>(
  given: T,
  host: Pick<HostFacts, 'cgroup' | 'cpus' | 'cpuset'>,
  update = false,
): ResourceCheck<T> {
  const review = new Review(given, host.cgroup.features);
  checkMemory(review, update);
  checkOomAndPids(review);
  checkCpu(review, host.cpus);
  checkRealtime(review);
  if ((review.settings.CpuPercent ?? 0) > 0) {
    review.discard({ CpuPercent: 0 }, 'linux does not support CPU percent. Percent discarded.');
  }
  checkCpuset(review, host.cpuset);
  checkBlkio(review);
  return { settings: review.settings, warnings: review.warnings };
}
