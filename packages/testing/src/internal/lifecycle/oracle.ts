/** Compares what an environment does with what the model says that it must do, step by step. */
import * as Model from "./model.ts"
import { type Configuration, sizeOf } from "./program.ts"
import type { Sandboxes } from "./sandboxes.ts"
import type { User } from "./user.ts"
import type { Blame } from "./violation.ts"

export interface View {
  readonly now: number
  readonly isOnline: boolean
  readonly isDraining: boolean
  readonly onlineSince: number
  readonly users: ReadonlyArray<User>
  readonly sandboxes: Sandboxes
  /** How many sandboxes have died or were found to be broken. */
  readonly deaths: number
}

export class Oracle {
  private readonly configuration: Configuration
  private readonly blame: Blame
  /** The world when everything was at rest before; nothing when that is not known well enough. */
  private before: Model.World | undefined
  private readonly targets = new Map<string, number>()
  private isLost = false
  private deaths = 0
  private now = 0
  predictions = 0

  constructor(configuration: Configuration, blame: Blame) {
    this.configuration = configuration
    this.blame = blame
  }

  /** Everything is at rest. What was done since the last time is known only if nothing else was done meanwhile. */
  look(action: Model.Action | undefined, view: View): void {
    const { before } = this
    this.before = undefined
    if (this.isLost) return
    const expected = before === undefined || action === undefined ? undefined : Model.next(before, action)
    if (expected === undefined) {
      // How many sandboxes are kept after some were idle is not seen from outside.
      const isShrunk = this.configuration.idleTimeToLive !== undefined && view.now > this.now
      // Who was handed a sandbox that was dead stands in line again, behind the others.
      const isDisordered = view.deaths > this.deaths && view.users.filter(isWaiting).length > 1
      this.isLost = isShrunk || isDisordered
    }
    this.now = view.now
    this.deaths = view.deaths
    const observed = this.observe(view, expected)
    if (expected !== undefined) {
      this.predictions++
      const lines = [Model.lines(expected), Model.lines(observed)] as const
      const [wanted, got] = lines.map((all, index) => all.filter((line) => !lines[1 - index]?.includes(line)))
      if ((wanted?.length ?? 0) + (got?.length ?? 0) > 0) {
        this.blame("the model", `what ${action?._tag ?? "nothing"} does`, wanted, got)
      }
    }
    // In an outage things happen at a pace that is not exact.
    this.before = this.isLost || view.sandboxes.outages.size > 0 ? undefined : observed
  }

  private observe(view: View, expected: Model.World | undefined): Model.World {
    const { sandboxes, users } = view
    const pools = new Map<string, Model.Pool>()
    for (const { id } of this.configuration.images) pools.set(id, this.emptyPool(id))
    for (const told of sandboxes.all.values()) {
      const pool = pools.get(told.image) ?? this.emptyPool(told.image)
      pools.set(told.image, pool)
      pool.generations[told.slot] = Math.max(pool.generations[told.slot] ?? 0, told.generation + 1)
    }
    for (const pool of pools.values()) {
      const all = [...sandboxes.all.values()].filter(({ image }) => image === pool.image)
      all.sort((a, b) => a.order - b.order)
      for (const told of all) {
        if (told.status === "Offline") {
          pool.free = [...pool.free.filter((slot) => slot !== told.slot), told.slot]
          continue
        }
        const user = users.find((one) => one.sandboxId === told.id && one.exit === undefined && !one.closedInside)
        const { bornAt, generation, served, since, slot } = told
        const isRecycled = sandboxes.recycled.has(told.id)
        pool.boxes.push({ slot, generation, bornAt, user: user?.name, since, served, isRecycled })
      }
      pool.free = pool.free.filter((slot) => !pool.boxes.some((box) => box.slot === slot))
      const most = sandboxes.takeMost(pool.image)
      const before = this.targets.get(pool.image) ?? sizeOf(this.configuration, pool.image).min
      const { isPooled } = sizeOf(this.configuration, pool.image)
      pool.target = expected?.pools.get(pool.image)?.target ?? (isPooled ? Math.max(before, most) : 0)
      this.targets.set(pool.image, pool.target)
    }
    const known = expected?.people
    const people = new Map<string, Model.Person>()
    for (const user of users) {
      if (user.exit !== undefined && known?.has(user.name) !== true) continue
      people.set(user.name, personOf(user))
      if (isWaiting(user)) pools.get(user.image)?.waiters.push(user.name)
    }
    return {
      configuration: this.configuration,
      now: view.now,
      onlineSince: view.onlineSince,
      isOnline: view.isOnline,
      isDraining: view.isDraining,
      pools,
      people
    }
  }

  private emptyPool(image: string): Model.Pool {
    return { image, boxes: [], waiters: [], target: 0, free: [], generations: [] }
  }
}

const isWaiting = (user: User): boolean =>
  user.exit === undefined && user.sessionId === undefined && user.way !== "host"

/** A user as the model sees it. */
export const personOf = (user: User): Model.Person => ({
  name: user.name,
  image: user.image,
  way: user.way,
  id: user.id,
  openedAt: user.openedAt,
  state:
    user.exit !== undefined
      ? (user.verdict ?? "?")
      : isWaiting(user)
        ? "waiting"
        : user.closedInside
          ? "outside"
          : "inside",
  startedAt: user.startedAt,
  lastActivity: user.lastActivity,
  busyUntil: user.activities > 0 ? user.busyUntil : undefined,
  inbox: [...user.inbox]
})
