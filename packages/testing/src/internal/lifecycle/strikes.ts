/** What has gone wrong so far, because the program wanted it to: faults that struck, and sandboxes that died. */
import type { Fault } from "../../FaultPlan.ts"
import type { Faults, Struck } from "../../Faults.ts"
import type { Latency } from "../../Latency.ts"
import type { Log } from "./log.ts"
import type { Configuration } from "./program.ts"
import type { Setups } from "./setups.ts"

export class Strikes {
  /** The faults that struck. */
  readonly all: Array<Struck> = []
  /** Sandboxes that died by themselves. */
  readonly dead = new Set<string>()
  /** Sandboxes that something was done to, or raised in, that may break them. */
  readonly blamed = new Set<string>()
  /** Whether something struck that shuts the environment down. */
  hostFailed = false
  /** Whether there may be any: otherwise nobody needs to look. */
  isPossible: boolean
  private readonly configuration: Configuration
  private readonly log: Log
  private readonly setups: Setups
  private faults: Faults["Service"] | undefined

  constructor(configuration: Configuration, isPossible: boolean, log: Log, setups: Setups) {
    this.configuration = configuration
    this.isPossible = isPossible
    this.log = log
    this.setups = setups
  }

  watch(faults: Faults["Service"]): void {
    this.faults = faults
  }

  /** Takes note of what struck since the last time. */
  note(): void {
    if (!this.isPossible || this.faults === undefined) return
    const struck = this.faults.struck()
    for (let one = struck[this.all.length]; one !== undefined; one = struck[this.all.length]) {
      this.all.push(one)
      this.add(one)
    }
  }

  private add(struck: Struck): void {
    const { call, fault } = struck
    this.log.happened({ _tag: "Struck", at: struck.timestamp, struck })
    this.log.count(`${fault.how._tag} at ${call.point}`)
    if (!takesNoTime(fault)) this.setups.excuse(call.sandboxId ?? "the host")
    if (call.sandboxId !== undefined) {
      if (!takesNoTime(fault)) this.setups.excuse("the host")
      if (fault.how._tag === "Kill") this.dead.add(call.sandboxId)
      if (!isUsers(fault, call.point)) this.blamed.add(call.sandboxId)
    } else if (call.point === "housekeep") {
      this.hostFailed = true
    }
  }

  /** How much has gone wrong, as a number that grows. */
  get count(): number {
    return this.all.length + this.dead.size + this.blamed.size
  }

  /** Whether something struck while sandboxes or sessions of an image were set up. */
  hitSetUpOf(image: string): boolean {
    return this.all.some(
      ({ call }) => setUpPoints.has(call.point) && (call.image === undefined || call.image === image)
    )
  }

  /** Whether something struck a feature. */
  hitFeature(featureId: string, sandboxId: string | undefined): boolean {
    return this.all.some(({ call }) => call.featureId === featureId && call.sandboxId === sandboxId)
  }

  /** Whether a teardown may have been given up: it goes on after its time limit. */
  get mayLeaveThings(): boolean {
    const { latency, teardownTimeout = 30_000 } = this.configuration
    if (latency?.destroy !== undefined && longest(latency.destroy) >= teardownTimeout) return true
    return this.all.some(({ call, fault }) => !takesNoTime(fault) && teardownPoints.has(call.point))
  }
}

/** Whether a fault fails at once. */
export const takesNoTime = ({ how }: Fault): boolean => how._tag !== "Hang" && how._tag !== "Slow"

const driverPoints: ReadonlySet<string> = new Set(["create", "destroy", "ping", "reset", "spawn", "exit", "file"])
const setUpPoints: ReadonlySet<string> = new Set(["create", "reset", "setup", "session", "spawn", "exit", "file"])
const teardownPoints: ReadonlySet<string> = new Set(["destroy", "teardown", "sessionTeardown"])

/** Whether a fault is the user's own, and leaves the sandbox alone. */
const isUsers = ({ how }: Fault, point: string): boolean => {
  if (how._tag === "Slow" || how._tag === "Hang") return true
  if (driverPoints.has(point)) return false
  return how._tag === "Die" || (how._tag === "Fail" && how.kind !== "state")
}

/** How long something may take. */
const longest = (latency: Latency): number => {
  switch (latency._tag) {
    case "Constant":
      return latency.millis
    case "Uniform":
      return latency.max
    case "LongTailed":
      return Number.POSITIVE_INFINITY
  }
}
