/** What must be so whenever nothing can go on without time passing. */
import type * as Environment from "@effect-sandbox/core/Environment"
import { type Configuration, type Image, sizeOf } from "./program.ts"
import type { Sandboxes, Told } from "./sandboxes.ts"
import { defaultAcquireTimeout } from "./exits.ts"
import type { User } from "./user.ts"
import type { Blame } from "./violation.ts"

export interface View {
  readonly configuration: Configuration
  readonly stats: Environment.Stats
  readonly sandboxes: Sandboxes
  readonly users: ReadonlyArray<User>
  readonly now: number
  /** Sandboxes that the driver has or makes, by its own account. */
  readonly alive: ReadonlySet<string>
  /** Those that have died by themselves. */
  readonly dead: ReadonlySet<string>
  /** Whether nothing takes time: no latency, and no fault that hangs or is slow. */
  readonly isInstant: boolean
  /** Whether nothing has gone wrong so far. */
  readonly isFaultless: boolean
  /** Whether things happen in the order in which they were asked for. */
  readonly isInOrder: boolean
  /** Since when the environment is online. */
  readonly onlineSince: number
  /** Whether time has passed while something went on, which then came later than it could have. */
  readonly isLate: boolean
}

/** What is remembered from one look to the next. */
export interface Memory {
  /** Who was waiting, by image. */
  readonly pending: Map<string, ReadonlyArray<User>>
  /** When an image was last seen complete, or tried to become so. */
  readonly healed: Map<string, number>
  /** How much had gone wrong. */
  troubles: number
}

export const look = (view: View, memory: Memory, troubles: number, blame: Blame): void => {
  const { sandboxes, stats } = view
  const { created, destroyed, live } = stats.ledger
  if (created - destroyed - live !== 0) blame("I7", "the ledger", "created - destroyed - live = 0", stats.ledger)
  let counted = 0
  for (const pool of stats.images) {
    counted += Object.values(pool.counts).reduce((sum, count) => sum + count, 0)
    lookAtImage(view, pool, blame)
    lookAtOrder(view, pool.image, memory.troubles === troubles ? memory.pending.get(pool.image) : undefined, blame)
    lookAtHealing(view, pool, memory.healed, blame)
    memory.pending.set(pool.image, pendingOf(view.users, pool.image))
  }
  memory.troubles = troubles
  if (counted !== live) blame("I7", "the statuses and the ledger", live, counted)
  if (sandboxes.all.size !== created) blame("I6", "the sandboxes that events told of", created, sandboxes.all.size)
  if (sandboxes.sessions.size !== stats.sessions) {
    blame("I6", "the open sessions", [...sandboxes.sessions.keys()], stats.sessions)
  }
  for (const user of view.users) {
    if (user.exit === undefined) lookAtUser(view, user, blame)
    user.wasSeenInside = user.sessionId !== undefined
  }
  if (view.isInstant && stats.status === "ShuttingDown") blame("H5", "the shutdown does not come to its end")
  if (view.isInstant && stats.status === "Draining" && view.users.every((user) => user.exit !== undefined)) {
    blame("H5", "nobody is in a session, and the environment is still drained")
  }
}

const lookAtImage = (view: View, pool: Environment.ImageStats, blame: Blame): void => {
  const { configuration, isInstant, sandboxes, stats } = view
  const { counts, image } = pool
  const told = sandboxes.live(image)
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  if (total > pool.max) blame("I2", `sandboxes of ${image}`, `at most ${pool.max}`, counts)
  for (const [status, count] of Object.entries(counts)) {
    const expected = told.filter((one) => one.status === status).length
    if (count !== expected) blame("I6", `how many sandboxes of ${image} are ${status}`, expected, count)
  }
  const isOnline = stats.status === "Online"
  const pending = pendingOf(view.users, image)
  if (isOnline && pool.waiters > 0) {
    if (counts.Ready > 0) blame("I8", `${image} has waiters while a sandbox is ready`, 0, pool.waiters)
    if (pool.outage === undefined && total < pool.max && pool.starting < pool.waiters) {
      blame("P3", `a lost wake-up: nothing starts for the waiters of ${image}`, pool.waiters, pool.starting)
    }
  }
  if (isInstant ? pool.waiters !== pending.length : pool.waiters > pending.length) {
    blame(
      "P4",
      `the waiters of ${image}`,
      pending.map((user) => user.name),
      pool.waiters
    )
  }
  const outage = sandboxes.outages.get(image)
  if ((outage === undefined) !== (pool.outage === undefined)) {
    blame(
      "H3",
      `the outage of ${image}`,
      outage === undefined ? "none" : `since ${outage.since}`,
      pool.outage ?? "none"
    )
  }
  const { outageGracePeriod: grace = 300_000 } = configuration
  if (outage !== undefined && pool.waiters > 0 && view.now - outage.since >= grace) {
    blame("H3", `${image} has waiters in an outage that lasts too long`, `none after ${grace} ms`, pool.waiters)
  }
  if (
    outage !== undefined &&
    [...sandboxes.all.values()].some((one) => one.image === image && (one.cameUpAt ?? -1) > outage.since)
  ) {
    blame("H3", `the outage of ${image} does not end although a sandbox came up`)
  }
  for (const one of told) lookAtSandbox(view, one, blame)
  const configured = configuration.images.find(({ id }) => id === image)
  if (configured !== undefined && isOnline && view.isFaultless && isInstant) lookAtMinimum(configured, told, blame)
}

/** I8: nobody is served before somebody who was waiting already and still is. */
const lookAtOrder = (view: View, image: string, before: ReadonlyArray<User> | undefined, blame: Blame): void => {
  if (!view.isInstant || !view.isInOrder || before === undefined) return
  const first = before.find((user) => user.exit === undefined && user.sessionId === undefined)
  if (first === undefined) return
  const later = view.users.find(
    (user) =>
      user.image === image &&
      user.sessionId !== undefined &&
      user.way !== "host" &&
      user.number > first.number &&
      (before.includes(user) || user.openedAt >= first.openedAt) &&
      !user.wasSeenInside
  )
  if (later !== undefined) blame("I8", `${later.name} is served before ${first.name}`, first.name, later.name)
}

/** H2 and H3: what is missing is looked after by every housekeeping round, also in an outage. */
const lookAtHealing = (view: View, pool: Environment.ImageStats, healed: Map<string, number>, blame: Blame): void => {
  const { configuration, now, sandboxes, stats } = view
  const told = sandboxes.live(pool.image)
  const missing = told.length < pool.min || (pool.waiters > 0 && told.length < pool.max)
  let last = view.onlineSince
  for (const one of sandboxes.all.values()) {
    if (one.image === pool.image && (one.leftAt ?? now) > last) last = one.leftAt ?? now
  }
  last = Math.max(last, healed.get(pool.image) ?? 0)
  if (!missing || pool.starting > 0 || stats.status !== "Online") healed.set(pool.image, now)
  else {
    const {
      housekeepInterval = 30_000,
      idleTimeToLive = housekeepInterval,
      outageRetry = { every: 5000 }
    } = configuration
    // An attempt may be spaced by the schedule, with its jitter.
    const limit = Math.min(housekeepInterval, idleTimeToLive) + Math.ceil(outageRetry.every * 1.5)
    if (now - last > limit)
      blame("H2", `what is missing of ${pool.image} is not looked after`, `within ${limit} ms`, now - last)
  }
}

const lookAtMinimum = (image: Image, told: ReadonlyArray<Told>, blame: Blame): void => {
  const staying = told.filter((one) => one.status !== "ShuttingDown").length
  if (staying < image.min) blame("P1", `the sandboxes of ${image.id} that are kept`, `at least ${image.min}`, staying)
}

const lookAtSandbox = (view: View, told: Told, blame: Blame): void => {
  const { dead, isInstant, sandboxes, stats } = view
  if (dead.has(told.id) && (told.status === "Ready" || told.status === "InSession")) {
    blame("S4", `${told.id} has died`, "not to be used any more", told.status)
  }
  if (told.broken !== undefined && told.status === "Ready") blame("I4", `${told.id} is ready`, `broken: ${told.broken}`)
  const { housekeepInterval = 30_000, idleTimeToLive, maxLifetime } = view.configuration
  const round = Math.min(housekeepInterval, idleTimeToLive ?? housekeepInterval)
  if (told.status === "Ready" && maxLifetime !== undefined && stats.status === "Online") {
    const late = view.now - Math.max(told.bornAt + maxLifetime, told.since, view.onlineSince)
    if (late > round) blame("P6", `${told.id} is too old`, `to go within ${round} ms`, late)
  }
  if (told.status === "Ready" && idleTimeToLive !== undefined && stats.status === "Online") {
    const staying = sandboxes
      .live(told.image)
      .filter((one) => one.status !== "ShuttingDown" && view.now - one.bornAt > round)
    const late = view.now - Math.max(told.since + idleTimeToLive, view.onlineSince)
    if (late > round && staying.length > sizeOf(view.configuration, told.image).min) {
      blame("P6", `${told.id} is idle`, `to go within ${round} ms`, late)
    }
  }
  if (!isInstant) return
  if (told.status === "Ready" && stats.status !== "Online") blame("H5", `${told.id} is kept`, "gone", stats.status)
  if (told.status === "Ready" && sandboxes.recycled.has(told.id)) blame("P6", `${told.id} was to be replaced`)
  // Nothing that happens takes time, so nothing may be in the middle of it.
  if (told.status !== "Ready" && told.status !== "InSession") {
    blame("P3", `${told.id} is stranded`, "Ready or InSession", told.status)
  }
  if (!view.alive.has(told.id)) blame("I7", `${told.id} is ${told.status}`, "that the driver has it", "it has not")
  const served = view.users.some((user) => user.sandboxId === told.id && user.exit === undefined)
  if (told.status === "InSession" && !served && stats.status === "Online") {
    blame("I7", `${told.id} is in a session of nobody`, "Ready", told.status)
  }
}

const lookAtUser = (view: View, user: User, blame: Blame): void => {
  const { configuration, isInstant, now, sandboxes, stats } = view
  if (user.sessionId === undefined) {
    const waited = now - user.openedAt
    const timeout = configuration.acquireTimeout ?? defaultAcquireTimeout
    if (isInstant && waited >= timeout)
      blame("P4", `${user.name} still waits`, `to give up after ${timeout} ms`, waited)
    if (isInstant && stats.status !== "Online") blame("L4", `${user.name} still waits`, "to be told", stats.status)
    return
  }
  if (user.leftAt !== undefined) {
    if (isInstant)
      blame("S5", `the session of ${user.name} does not end`, "its end", `its body ended at ${user.leftAt}`)
    return
  }
  if (user.way === "host") {
    if (isInstant && hasEnded(stats)) blame("H5", `${user.name} is still in a session of the host`)
    return
  }
  if (user.closedInside) return // its body goes on outside of the session
  const age = now - user.startedAt
  if (configuration.sessionLifetime !== undefined && !view.isLate && age >= configuration.sessionLifetime) {
    blame("S6", `the session of ${user.name} goes on`, `its end after ${configuration.sessionLifetime} ms`, age)
  }
  const idle = user.activities > 0 ? 0 : now - user.lastActivity
  if (configuration.sessionIdleTimeout !== undefined && !view.isLate && idle >= configuration.sessionIdleTimeout) {
    blame(
      "S6",
      `the session of ${user.name} goes on`,
      `its end after ${configuration.sessionIdleTimeout} idle ms`,
      idle
    )
  }
  if (user.inbox.length > 0 && user.wake !== undefined) blame("I9", `${user.name} was not told what to do`)
  if (user.isInterrupted && isInstant) blame("S5", `${user.name} was interrupted and goes on`)
  if (user.reported !== undefined) blame("X3", `${user.name} has reported its sandbox and goes on`)
  if (hasEnded(stats) && isInstant) blame("H5", `the session of ${user.name} goes on`, "its end", stats.status)
  if (user.isClosed && isInstant) blame("S5", `the session of ${user.name} was closed and goes on`)
  const told = user.sandboxId === undefined ? undefined : sandboxes.all.get(user.sandboxId)
  if (told?.session !== user.sessionId && !user.isClosed) {
    blame("I3", `the session of ${user.name}`, user.sessionId, told?.session ?? "none")
  }
}

/** Whether sessions have to end. */
const hasEnded = ({ status }: Environment.Stats): boolean => status !== "Online" && status !== "Draining"

/** Whoever has asked for a session on an image and has none yet, in order. */
export const pendingOf = (users: ReadonlyArray<User>, image: string): ReadonlyArray<User> =>
  users.filter(
    (user) => user.image === image && user.way !== "host" && user.exit === undefined && user.sessionId === undefined
  )
