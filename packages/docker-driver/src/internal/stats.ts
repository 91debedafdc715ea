/** The engine's statistics in plain units, alike for both versions of control groups. */
import type * as Model from "../DockerModel.ts"
import type { Stats } from "../DockerSandbox.ts"

/** Limits this large are none. */
const noLimit = 2 ** 60

const limitOf = (value: number | null | undefined): number | undefined =>
  value === null || value === undefined || value === 0 || value >= noLimit ? undefined : value

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

/** What the kernel gives up when memory is short counts as free; control groups 1 and 2 name it differently. */
const reclaimable = (stats: { readonly [name: string]: number }): number =>
  stats["total_inactive_file"] ?? stats["inactive_file"] ?? 0

export const of = (found: Model.Stats): Stats => {
  const {
    blkio_stats: disk,
    cpu_stats: cpu,
    memory_stats: memory,
    networks,
    pids_stats: pids,
    precpu_stats: before
  } = found
  const spent = cpu.cpu_usage.total_usage - before.cpu_usage.total_usage
  const system = (cpu.system_cpu_usage ?? 0) - (before.system_cpu_usage ?? 0)
  const hasBefore = (before.system_cpu_usage ?? 0) > 0 && system > 0
  const bytes = (operation: string) =>
    sum(disk.io_service_bytes_recursive.filter(({ op }) => op.toLowerCase() === operation).map(({ value }) => value))
  const interfaces = Object.values(networks)
  return {
    cpuNanos: cpu.cpu_usage.total_usage,
    cpus: hasBefore ? (spent / system) * (cpu.online_cpus ?? 1) : undefined,
    memory: { used: Math.max(0, (memory.usage ?? 0) - reclaimable(memory.stats)), limit: limitOf(memory.limit) },
    pids: { current: pids.current ?? 0, limit: limitOf(pids.limit) },
    disk: { read: bytes("read"), written: bytes("write") },
    network: {
      received: sum(interfaces.map(({ rx_bytes }) => rx_bytes)),
      sent: sum(interfaces.map(({ tx_bytes }) => tx_bytes))
    }
  }
}
