/** What the page knows, as signals: filled by `connection.ts`, shown by the components. */
import { computed, signal } from "@preact/signals"
import type {
  Cell,
  Cells,
  EnvironmentState,
  LogEntry,
  LogPart,
  Point,
  Series,
  Snapshot,
  Tick
} from "../../src/internal/dashboard/protocol.ts"

export type Connection = "connecting" | "live" | "reconnecting" | "stopped" | "refused"

export const connection = signal<Connection>("connecting")
/** The server's clock with its last message; ages are counted from it. */
export const now = signal(0)
export const actions = signal(false)
export const environments = signal<ReadonlyArray<EnvironmentState>>([])
/** The sandbox whose history is open. */
export const openSandbox = signal<string | undefined>(undefined)
/** Events that did not fit into the messages, or were missed while we were away. */
export const missed = signal(0)
/** The latest events, newest first. */
export const log = signal<ReadonlyArray<LogEntry>>([])

const chosen = signal<string | undefined>(undefined)

/** The environment that is shown: the chosen one, or the first that runs. */
export const environment = computed<EnvironmentState | undefined>(
  () =>
    environments.value.find((one) => one.id === chosen.value) ??
    environments.value.find((one) => one.status !== "Offline") ??
    environments.value[0]
)

export const choose = (id: string): void => {
  chosen.value = id
}

const keptEntries = 1000
const keptPoints = 300

interface Pool {
  readonly cells: Map<number, Cell>
}

const pools = new Map<string, Pool>()
const allSeries = new Map<string, Array<Point>>()
/** Changes whenever sandboxes did, and points. */
const sandboxVersion = signal(0)
export const pointVersion = signal(0)
let epoch: string | undefined
let latest = 0

const keyOf = (environmentId: string, image: string | undefined): string => `${environmentId}\u0000${image ?? ""}`

/** The sandboxes of an image by slot. */
export const cellsOf = (environmentId: string, image: string): ReadonlyArray<Cell> => {
  void sandboxVersion.value
  return [...(pools.get(keyOf(environmentId, image))?.cells.values() ?? [])].sort((a, b) => a[0] - b[0])
}

/** The seconds of an image, or of the whole environment. */
export const pointsOf = (environmentId: string, image: string | undefined): ReadonlyArray<Point> => {
  void pointVersion.value
  return allSeries.get(keyOf(environmentId, image)) ?? []
}

export const onSnapshot = (snapshot: Snapshot): void => {
  if (snapshot.epoch !== epoch) {
    epoch = snapshot.epoch
    latest = 0
    log.value = []
    missed.value = 0
  }
  pools.clear()
  allSeries.clear()
  for (const series of snapshot.series) allSeries.set(keyOf(series.environment, series.image), [...series.points])
  pointVersion.value++
  move(snapshot.sandboxes)
  actions.value = snapshot.actions
  environments.value = snapshot.environments
  now.value = snapshot.time
}

export const onTick = (tick: Tick): void => {
  for (const series of tick.points) addPoints(series)
  if (tick.points.length > 0) pointVersion.value++
  if (tick.sandboxes.length > 0) move(tick.sandboxes)
  environments.value = tick.environments
  now.value = tick.time
  onLog(tick.log)
}

export const onLog = (part: LogPart): void => {
  missed.value += part.missed
  const fresh = part.entries.filter((entry) => entry.seq > latest)
  const last = fresh.at(-1)
  if (last === undefined) return
  latest = last.seq
  log.value = [...fresh.toReversed(), ...log.value].slice(0, keptEntries)
}

const addPoints = ({ environment, image, points }: Series): void => {
  const key = keyOf(environment, image)
  const known = allSeries.get(key) ?? []
  const end = known.at(-1)?.t ?? 0
  known.push(...points.filter((point) => point.t > end))
  allSeries.set(key, known.slice(-keptPoints))
}

const move = (all: ReadonlyArray<Cells>): void => {
  for (const { cells, environment, image } of all) {
    const key = keyOf(environment, image)
    const pool = pools.get(key) ?? { cells: new Map<number, Cell>() }
    pools.set(key, pool)
    for (const cell of cells) {
      if (cell[2] === "Offline") pool.cells.delete(cell[0])
      else pool.cells.set(cell[0], cell)
    }
  }
  sandboxVersion.value++
}
