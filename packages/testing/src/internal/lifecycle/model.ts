/**
 * What an environment must do, without doing it: a small picture of its pools and users, and what becomes of it by each
 * thing that is done to it. Exact where the rules are: nothing takes time, nothing fails, and things happen in the
 * order in which they are asked for. Where the rules leave a choice there is no prediction.
 */
import { type Class, defaultAcquireTimeout } from "./exits.ts"
import { type Configuration, sizeOf } from "./program.ts"
import type { Instruction } from "./user.ts"

export interface Box {
  readonly slot: number
  readonly generation: number
  readonly bornAt: number
  /** Who is in it; nobody when it is ready. */
  user: string | undefined
  /** Since when it has been ready. */
  since: number
  /** Sessions that have ended. */
  served: number
  /** Whether it is to be replaced as soon as nobody is in it. */
  isRecycled: boolean
}

export interface Pool {
  readonly image: string
  /** The ready ones in the order in which they became so; those in use anywhere among them. */
  boxes: Array<Box>
  /** In the order of their coming. */
  waiters: Array<string>
  /** How many there should be: the minimum, or as many as were needed at once. */
  target: number
  /** Free slots; the last one is taken first. */
  free: Array<number>
  /** The next generation of each slot. */
  generations: Array<number>
}

export interface Person {
  readonly name: string
  readonly image: string
  readonly way: "withSession" | "session" | "feature" | "host"
  readonly id: string | undefined
  readonly openedAt: number
  /** `outside`: its body goes on after it has closed its session. */
  state: "waiting" | "inside" | "outside" | Class
  startedAt: number
  lastActivity: number
  /** Until when its body does something; nobody knows when it is infinite. */
  busyUntil: number | undefined
  inbox: Array<Instruction>
}

export interface World {
  readonly configuration: Configuration
  now: number
  readonly onlineSince: number
  isOnline: boolean
  /** No longer online, and sessions go on. */
  isDraining: boolean
  readonly pools: Map<string, Pool>
  readonly people: Map<string, Person>
}

export type Action =
  | { readonly _tag: "Open"; readonly person: Person }
  | { readonly _tag: "Tell"; readonly name: string; readonly instruction: Instruction }
  | { readonly _tag: "Interrupt"; readonly name: string }
  | { readonly _tag: "Close"; readonly name: string }
  | { readonly _tag: "Kill"; readonly image: string; readonly slot: number }
  | { readonly _tag: "Recycle"; readonly image: string; readonly slot: number }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "Shutdown" }
  | { readonly _tag: "Advance"; readonly millis: number }
  | { readonly _tag: "Nothing" }

/** The world after something was done and everything has come to rest; nothing where the rules leave a choice. */
export const next = (before: World, action: Action): World | undefined => {
  const world = copy(before)
  const engine = new Engine(world)
  engine.act(action)
  return engine.isSure ? world : undefined
}

/** A world in one line for each image and each user, to be compared and to be read. */
export const lines = (world: World): ReadonlyArray<string> => {
  const namesMatter = world.configuration.loadBalancer !== "random"
  const pools = [...world.pools.values()].toSorted((a, b) => (a.image < b.image ? -1 : 1))
  return [
    ...pools.flatMap(({ boxes, image, waiters }) => {
      if (boxes.length === 0 && waiters.length === 0) return []
      const shown = boxes.map(({ generation, served, slot, user }) =>
        namesMatter ? `${slot}:${generation} ${user ?? `ready after ${served}`}` : (user ?? "ready")
      )
      return [`${image}: ${shown.toSorted().join(", ")}${waiters.length === 0 ? "" : `; ${waiters.join(", ")} wait`}`]
    }),
    ...[...world.people.values()].map(({ name, state }) => `${name}: ${state}`)
  ]
}

const copy = (world: World): World => ({
  ...world,
  pools: new Map(
    [...world.pools].map(([image, pool]) => [
      image,
      {
        ...pool,
        boxes: pool.boxes.map((box) => ({ ...box })),
        waiters: [...pool.waiters],
        free: [...pool.free],
        generations: [...pool.generations]
      }
    ])
  ),
  people: new Map([...world.people].map(([name, person]) => [name, { ...person, inbox: [...person.inbox] }]))
})

/** Something that time brings. */
interface Due {
  readonly at: number
  readonly kind: "gives up" | "lifetime" | "idle" | "done" | "round"
  readonly person: Person | undefined
}

class Engine {
  readonly world: World
  isSure = true

  constructor(world: World) {
    this.world = world
  }

  act(action: Action): void {
    switch (action._tag) {
      case "Open":
        return this.open(action.person)
      case "Tell": {
        const person = this.world.people.get(action.name)
        if (person === undefined) return
        person.inbox.push(action.instruction)
        return this.work(person)
      }
      case "Interrupt": {
        const person = this.world.people.get(action.name)
        return person === undefined ? undefined : this.leave(person, "interrupted")
      }
      case "Close": {
        const person = this.world.people.get(action.name)
        return person?.state === "inside" ? this.leave(person, "ended") : undefined
      }
      case "Kill": {
        const pool = this.pool(action.image)
        const box = pool.boxes.find(({ slot }) => slot === action.slot)
        return box === undefined ? undefined : this.breaks(pool, box)
      }
      case "Recycle": {
        const pool = this.pool(action.image)
        const box = pool.boxes.find(({ slot }) => slot === action.slot)
        if (box === undefined) return undefined
        if (box.user === undefined) return this.remove(pool, box)
        box.isRecycled = true
        return undefined
      }
      case "Drain":
        return this.drain()
      case "Shutdown":
        return this.shutDown()
      case "Advance":
        return this.advance(action.millis)
      case "Nothing":
        return undefined
    }
  }

  private pool(image: string): Pool {
    const known = this.world.pools.get(image)
    if (known !== undefined) return known
    const pool: Pool = { image, boxes: [], waiters: [], target: 0, free: [], generations: [] }
    this.world.pools.set(image, pool)
    return pool
  }

  private boxOf(person: Person): { readonly pool: Pool; readonly box: Box } | undefined {
    const pool = this.pool(person.image)
    const box = pool.boxes.find(({ user }) => user === person.name)
    return box === undefined ? undefined : { pool, box }
  }

  // Coming

  private open(person: Person): void {
    const { configuration, isOnline, people } = this.world
    people.set(person.name, person)
    const isKnown =
      person.way === "host" ||
      configuration.images.some(({ id }) => id === person.image) ||
      (configuration.dynamicImages === true && person.image.startsWith("dynamic"))
    const isTaken = [...people.values()].some(
      (one) => one !== person && one.id !== undefined && one.id === person.id && isOpen(one)
    )
    if (!isOnline) person.state = "closed"
    else if (!isKnown) person.state = "unknown image"
    else if (isTaken) person.state = "duplicate"
    else if (person.way === "host") this.enter(person)
    else this.acquire(person)
  }

  private acquire(person: Person): void {
    const pool = this.pool(person.image)
    const box = pool.waiters.length === 0 ? this.ready(pool) : undefined
    if (box !== undefined) return this.serve(box, person)
    // It gives up in the same moment in which a sandbox could come up.
    if (this.world.configuration.acquireTimeout === 0) this.isSure = false
    person.state = "waiting"
    pool.waiters.push(person.name)
    this.grow(pool)
  }

  /** The ready sandbox that serves next. */
  private ready(pool: Pool): Box | undefined {
    const all = pool.boxes.filter(({ user }) => user === undefined)
    return this.world.configuration.loadBalancer === "mostRecent" ? all.at(-1) : all[0]
  }

  private serve(box: Box, person: Person): void {
    box.user = person.name
    this.enter(person)
  }

  private enter(person: Person): void {
    person.state = "inside"
    person.startedAt = this.world.now
    person.lastActivity = this.world.now
    this.work(person)
  }

  /** Starts what is missing: for who waits, and as many as there should be (P2, H2). */
  private grow(pool: Pool): void {
    const { max } = sizeOf(this.world.configuration, pool.image)
    while (
      this.world.isOnline &&
      pool.boxes.length < max &&
      (pool.waiters.length > 0 || pool.boxes.length < pool.target)
    ) {
      const slot = pool.free.pop() ?? pool.generations.length
      const generation = pool.generations[slot] ?? 0
      pool.generations[slot] = generation + 1
      const { now } = this.world
      const box: Box = { slot, generation, bornAt: now, user: undefined, since: now, served: 0, isRecycled: false }
      pool.boxes.push(box)
      if (Number.isFinite(max)) pool.target = Math.max(pool.target, pool.boxes.length)
      this.offer(pool, box)
    }
  }

  /** A sandbox is free: whoever has waited longest has it (I8). */
  private offer(pool: Pool, box: Box): void {
    const name = pool.waiters.shift()
    const person = name === undefined ? undefined : this.world.people.get(name)
    if (person !== undefined) return this.serve(box, person)
    box.user = undefined
    box.since = this.world.now
    // The latest one last.
    pool.boxes = [...pool.boxes.filter((one) => one !== box), box]
  }

  // Going

  /** Ends whatever somebody does, and lets the sandbox serve the next. */
  private leave(person: Person, state: Person["state"]): void {
    if (person.state === "waiting") {
      const pool = this.pool(person.image)
      pool.waiters = pool.waiters.filter((name) => name !== person.name)
    }
    const held = person.state === "inside" ? this.boxOf(person) : undefined
    person.state = state
    if (held === undefined) return
    const { box, pool } = held
    const { maxLifetime, maxSessions } = this.world.configuration
    box.served++
    const isUsedUp = maxSessions !== undefined && box.served >= maxSessions
    const isOld = maxLifetime !== undefined && this.world.now - box.bornAt >= maxLifetime
    const { isPooled } = sizeOf(this.world.configuration, pool.image)
    if (!isPooled || isUsedUp || isOld || box.isRecycled || !this.world.isOnline) this.remove(pool, box)
    else this.offer(pool, box)
  }

  /** A sandbox goes, and another one comes if it is missed. */
  private remove(pool: Pool, box: Box): void {
    pool.boxes = pool.boxes.filter((one) => one !== box)
    pool.free.push(box.slot)
    this.grow(pool)
  }

  /** A sandbox is broken: its user is told (S4), and it goes. */
  private breaks(pool: Pool, box: Box): void {
    const person = box.user === undefined ? undefined : this.world.people.get(box.user)
    if (person !== undefined) person.state = "state error"
    this.remove(pool, box)
  }

  private drain(): void {
    if (!this.world.isOnline) return
    this.world.isOnline = false
    this.world.isDraining = true
    for (const person of this.world.people.values()) if (person.state === "waiting") person.state = "closed"
    for (const pool of this.world.pools.values()) {
      pool.boxes = pool.boxes.filter(({ user }) => user !== undefined)
      pool.waiters = []
    }
  }

  private shutDown(): void {
    if (!this.world.isOnline && !this.world.isDraining) return
    this.world.isOnline = false
    this.world.isDraining = false
    for (const person of this.world.people.values()) {
      if (person.state === "waiting" || person.state === "inside") person.state = "closed"
    }
    for (const pool of this.world.pools.values()) {
      pool.boxes = []
      pool.waiters = []
    }
  }

  // Being there

  /** A body does what it was told, until it has to wait. */
  private work(person: Person): void {
    while ((person.state === "inside" || person.state === "outside") && person.busyUntil === undefined) {
      const instruction = person.inbox.shift()
      if (instruction === undefined) return
      this.obey(person, instruction)
    }
  }

  private obey(person: Person, instruction: Instruction): void {
    const isHost = person.way === "host"
    switch (instruction._tag) {
      case "Finish":
        return this.leave(person, "value")
      case "Fail":
      case "FailOther":
        return this.leave(person, "own error")
      case "Die":
        return this.leave(person, "own defect")
      case "FailState":
      case "Report": {
        if (isHost) return
        // Outside of its session a body knows its sandbox only as something that others may be in.
        if (person.state === "outside") this.isSure = false
        const held = this.boxOf(person)
        if (held !== undefined) this.breaks(held.pool, held.box)
        if (instruction._tag === "FailState") person.state = "own error"
        return
      }
      case "Activity":
        if (isHost) return
        person.busyUntil = instruction.millis === 0 ? undefined : this.world.now + instruction.millis
        return
      case "Exec":
        // How long a command takes is the simulation's affair.
        if (!isHost && instruction.command === "sleep" && person.state === "inside") {
          person.busyUntil = Number.POSITIVE_INFINITY
        } else if (!isHost) person.lastActivity = this.world.now
        return
      case "WriteFile":
      case "Use":
        if (!isHost) person.lastActivity = this.world.now
        return
      case "ShutdownInside":
        if (person.state === "outside") this.isSure = false
        return this.shutDown()
      case "CloseInside": {
        if (person.way !== "session" || person.state !== "inside") return
        return this.leave(person, "outside")
      }
    }
  }

  // Time

  private advance(millis: number): void {
    const end = this.world.now + millis
    while (this.isSure) {
      const dues = this.dues()
      const at = Math.min(...dues.map((due) => due.at))
      if (!(at <= end)) break
      const now = dues.filter((due) => due.at === at)
      this.world.now = at
      // What comes first of things that happen in the same moment is not said, unless they are the same.
      if (now.length > 1 && now.some(({ kind }) => kind !== "gives up")) this.isSure = false
      for (const due of now) this.happen(due)
    }
    this.world.now = end
  }

  private dues(): ReadonlyArray<Due> {
    const { configuration, isOnline, now, onlineSince, people } = this.world
    const dues: Array<Due> = []
    for (const person of people.values()) {
      const due = (kind: Due["kind"], at: number | undefined): void => {
        if (at !== undefined) dues.push({ at, kind, person })
      }
      const after = (since: number, millis: number | undefined) => (millis === undefined ? undefined : since + millis)
      if (person.state === "waiting")
        due("gives up", person.openedAt + (configuration.acquireTimeout ?? defaultAcquireTimeout))
      if (person.state !== "inside" && person.state !== "outside") continue
      if (person.busyUntil === Number.POSITIVE_INFINITY) this.isSure = false
      due("done", person.busyUntil)
      if (person.state === "outside" || person.way === "host") continue
      due("lifetime", after(person.startedAt, configuration.sessionLifetime))
      if (person.busyUntil === undefined) due("idle", after(person.lastActivity, configuration.sessionIdleTimeout))
    }
    const { housekeepInterval = 30_000, idleTimeToLive, maxLifetime } = configuration
    if (isOnline && (idleTimeToLive !== undefined || maxLifetime !== undefined)) {
      const interval = Math.min(housekeepInterval, idleTimeToLive ?? housekeepInterval)
      const rounds = Math.floor((now - onlineSince) / interval) + 1
      dues.push({ at: onlineSince + rounds * interval, kind: "round", person: undefined })
    }
    return dues
  }

  private happen({ kind, person }: Due): void {
    if (kind === "round") return this.housekeep()
    if (person === undefined) return
    switch (kind) {
      case "gives up":
        return this.leave(person, "overload")
      case "lifetime":
      case "idle":
        return this.leave(person, "limit")
      case "done":
        person.busyUntil = undefined
        person.lastActivity = this.world.now
        return this.work(person)
    }
  }

  /** A round of housekeeping: what is too old, or idle and beyond the minimum, goes (P6). */
  private housekeep(): void {
    const { configuration, now } = this.world
    const { idleTimeToLive, maxLifetime } = configuration
    for (const pool of this.world.pools.values()) {
      const { min } = sizeOf(configuration, pool.image)
      const ready = pool.boxes.filter(({ user }) => user === undefined)
      let staying = pool.boxes.length
      const old = ready.filter((box) => maxLifetime !== undefined && now - box.bornAt >= maxLifetime)
      const idle: Array<Box> = []
      for (const box of ready) {
        if (old.includes(box)) staying--
        else if (idleTimeToLive !== undefined && staying > min && now - box.since >= idleTimeToLive) {
          staying--
          idle.push(box)
        }
      }
      pool.target = Math.max(min, pool.target - idle.length)
      // What is old is replaced, what is idle is not; in which order both go is not said.
      if (old.length > 0 && idle.length > 0) this.isSure = false
      for (const box of [...old, ...idle]) this.remove(pool, box)
    }
  }
}

const isOpen = ({ state }: Person): boolean => state === "waiting" || state === "inside"
