/** What must be true of the events of every life (DESIGN section 5), sandbox by sandbox and environment by environment. */
import type * as SandboxEvent from "@effect-sandbox/core/SandboxEvent"
import * as SandboxStatus from "@effect-sandbox/core/SandboxStatus"
import type { Violation } from "../../EventExpect.ts"

type Event = SandboxEvent.SandboxEvent

/** All violations, in the order of the events; what is missing at the end comes last. */
export const violationsOf = (events: ReadonlyArray<Event>, isOver: boolean): ReadonlyArray<Violation> => {
  const violations: Array<Violation> = []
  const sandboxes = new Map<string, SandboxLife>()
  const environments = new Map<string, EnvironmentLife>()
  const lifeOf = <Life>(lives: Map<string, Life>, id: string, make: (id: string) => Life): Life => {
    const life = lives.get(id) ?? make(id)
    lives.set(id, life)
    return life
  }
  for (const [at, event] of events.entries()) {
    const note: Note = (invariant, subject, description) =>
      void violations.push({ invariant, subject, description, at })
    const environment = lifeOf(environments, event.environmentId, (id) => new EnvironmentLife(id))
    if (event._tag === "EnvironmentStarting" && environment.isOver) {
      // The sandboxes of the next environment of this id are called like those of the one that has gone.
      for (const [id, life] of sandboxes) {
        if (life.environmentId !== event.environmentId || !life.isOver) continue
        life.end(note)
        sandboxes.delete(id)
      }
    }
    if ("sandboxId" in event && event.sandboxId !== undefined) {
      lifeOf(sandboxes, event.sandboxId, (id) => new SandboxLife(id, event.environmentId)).next(event, note)
    } else {
      environment.next(event, note)
    }
    environment.measure(event, note)
  }
  if (isOver) {
    const note: Note = (invariant, subject, description) =>
      void violations.push({ invariant, subject, description, at: undefined })
    for (const life of [...sandboxes.values(), ...environments.values()]) life.end(note)
  }
  return violations
}

type Note = (invariant: Violation["invariant"], subject: string, description: string) => void

/** What was set up and not torn down, the last on top (I1). */
class Stack {
  private readonly names: Array<string> = []

  push(name: string): void {
    this.names.push(name)
  }

  /** Takes one off; tells what is wrong when it is not on top. */
  pop(name: string): string | undefined {
    const index = this.names.lastIndexOf(name)
    if (index === -1) return "torn down without a set-up"
    const above = this.names.slice(index + 1)
    this.names.splice(index, 1)
    return above.length === 0 ? undefined : `torn down before ${above.join(", ")}`
  }

  left(): ReadonlyArray<string> {
    return this.names
  }
}

class SandboxLife {
  private status: SandboxStatus.SandboxStatus = "Created"
  private session: string | undefined
  private isBroken = false
  private readonly features = new Stack()
  private readonly sessionFeatures = new Stack()
  private readonly id: string
  readonly environmentId: string

  constructor(id: string, environmentId: string) {
    this.id = id
    this.environmentId = environmentId
  }

  get isOver(): boolean {
    return this.status === "Offline"
  }

  next(event: Event, note: Note): void {
    const { id } = this
    switch (event._tag) {
      case "SandboxStatusChanged":
        if (event.from !== this.status) {
          note("I6", id, `a move is missing: it was ${this.status}, and now leaves ${event.from}`)
        }
        if (!SandboxStatus.isLegal(event.from, event.to)) note("I5", id, `illegal move ${event.from} -> ${event.to}`)
        this.status = event.to
        break
      case "SessionStarted":
        if (event.error !== undefined) break
        if (this.session !== undefined) {
          note("I3", id, `session ${event.sessionId} started while session ${this.session} was running`)
        }
        if (this.isBroken) note("I4", id, `session ${event.sessionId} started after a state error`)
        this.session = event.sessionId
        break
      case "SessionEnded":
        if (event.sessionId !== this.session) {
          note("I6", id, `session ${event.sessionId} ended, but ${this.session ?? "none"} was running`)
        }
        this.session = undefined
        break
      case "FeatureSetUp":
        this.features.push(event.featureId)
        break
      case "FeatureTornDown": {
        const problem = this.features.pop(event.featureId)
        if (problem !== undefined) note("I1", id, `feature ${event.featureId} was ${problem}`)
        const left = this.sessionFeatures.left()
        if (left.length > 0) {
          note("I1", id, `feature ${event.featureId} was torn down while sessions of ${left.join(", ")} were up`)
        }
        break
      }
      case "FeatureSessionSetUp":
        this.sessionFeatures.push(event.featureId)
        break
      case "FeatureSessionTornDown": {
        const problem = this.sessionFeatures.pop(event.featureId)
        if (problem !== undefined) note("I1", id, `the session of feature ${event.featureId} was ${problem}`)
        break
      }
    }
    // The state error of another sandbox may end a session here, and does not condemn this one.
    if ("error" in event && event.error?.isStateError === true && event.error.message.includes(`${id} `)) {
      this.isBroken = true
    }
  }

  end(note: Note): void {
    const { id } = this
    if (this.session !== undefined) note("I6", id, `session ${this.session} never ended`)
    for (const name of this.sessionFeatures.left()) note("I1", id, `the session of feature ${name} was never torn down`)
    for (const name of this.features.left()) note("I1", id, `feature ${name} was never torn down`)
    if (this.status !== "Offline") note("I7", id, `it ended ${this.status}, not Offline`)
  }
}

class EnvironmentLife {
  /** Environments of one id may follow each other. */
  private readonly counts = { EnvironmentStarting: 0, EnvironmentStarted: 0, EnvironmentShutDown: 0 }
  private readonly features = new Stack()
  /** By session: those of a host feature overlap. */
  private readonly sessions = new Map<string, Stack>()
  private readonly id: string

  constructor(id: string) {
    this.id = id
  }

  /** Whether it has shut down as often as it was started. */
  get isOver(): boolean {
    return this.counts.EnvironmentStarting === this.counts.EnvironmentShutDown
  }

  next(event: Event, note: Note): void {
    const { id } = this
    switch (event._tag) {
      case "EnvironmentStarting":
      case "EnvironmentStarted":
      case "EnvironmentShutDown": {
        this.counts[event._tag]++
        if (this.counts[event._tag] > this.counts.EnvironmentStarting) note("I6", id, `${event._tag} without a start`)
        break
      }
      case "FeatureSetUp":
        this.features.push(event.featureId)
        break
      case "FeatureTornDown": {
        const problem = this.features.pop(event.featureId)
        if (problem !== undefined) note("I1", id, `host feature ${event.featureId} was ${problem}`)
        break
      }
      case "FeatureSessionSetUp": {
        const stack = this.sessions.get(event.sessionId ?? "") ?? new Stack()
        this.sessions.set(event.sessionId ?? "", stack)
        stack.push(event.featureId)
        break
      }
      case "FeatureSessionTornDown": {
        const stack = this.sessions.get(event.sessionId ?? "") ?? new Stack()
        const problem = stack.pop(event.featureId)
        if (problem !== undefined) note("I1", id, `the session of host feature ${event.featureId} was ${problem}`)
        break
      }
    }
  }

  measure(event: Event, note: Note): void {
    for (const [field, millis] of Object.entries(measuresOf(event))) {
      if (millis < 0) note("I6", subjectOf(event), `${field} of ${event._tag} is ${millis}`)
    }
  }

  end(note: Note): void {
    const { id } = this
    const { EnvironmentShutDown, EnvironmentStarted, EnvironmentStarting } = this.counts
    if (EnvironmentStarted < EnvironmentStarting) note("I6", id, "its start never ended")
    if (EnvironmentShutDown < EnvironmentStarting) note("I6", id, "it never shut down")
    for (const name of this.features.left()) note("I1", id, `host feature ${name} was never torn down`)
    for (const stack of this.sessions.values()) {
      for (const name of stack.left()) note("I1", id, `the session of host feature ${name} was never torn down`)
    }
  }
}

const subjectOf = (event: Event): string =>
  "sandboxId" in event && event.sandboxId !== undefined ? event.sandboxId : event.environmentId

const measuresOf = (event: Event): { readonly [field: string]: number } => ({
  ...("durationMillis" in event ? { durationMillis: event.durationMillis } : {}),
  ...("lifetimeMillis" in event ? { lifetimeMillis: event.lifetimeMillis } : {}),
  ...("spentMillis" in event ? { spentMillis: event.spentMillis } : {}),
  ...("waitedMillis" in event ? { waitedMillis: event.waitedMillis } : {})
})
