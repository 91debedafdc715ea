/** The driver as the core uses it, looked at from outside: how many sandboxes there are, and what is done to them when. */
import type { SandboxDriver, SandboxSpec } from "@effect-sandbox/core/SandboxDriver"
import * as Effect from "effect/Effect"
import type { Told } from "./sandboxes.ts"
import type { Blame } from "./violation.ts"

export const watchDriver = (
  driver: SandboxDriver["Service"],
  options: {
    readonly max: (image: string) => number
    readonly told: (sandboxId: string) => Told | undefined
    /** What still runs inside. */
    readonly processes: (sandboxId: string) => ReadonlyArray<unknown>
    readonly isBroken: (sandboxId: string) => boolean
    readonly blame: Blame
    readonly count: (situation: string) => void
  }
): SandboxDriver["Service"] => {
  const { blame, count: note, max, told } = options
  /** The sandboxes of each image that there are. */
  const places = new Map<string, Set<string>>()
  const ids = new Set<string>()
  const create: typeof driver.create = Effect.fnUntraced(function* (spec: SandboxSpec) {
    const { image, sandboxId } = spec
    if (ids.has(sandboxId)) blame("L7", `${sandboxId} is created twice`)
    ids.add(sandboxId)
    const status = told(sandboxId)?.status
    if (status !== "SettingUp") blame("I5", `${sandboxId} is created while it is ${String(status)}`, "SettingUp")
    const there = places.get(image) ?? new Set()
    places.set(image, there)
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        there.add(sandboxId)
        // What could not be taken down in time was given up, and is there without a place.
        const count = [...there].filter((id) => told(id)?.status !== "Offline").length
        if (count > max(image)) blame("I2", `sandboxes of ${image} at once`, `at most ${max(image)}`, [...there])
        if (count === max(image)) note("a pool was full")
      }),
      () => Effect.sync(() => there.delete(sandboxId))
    )
    const made = yield* driver.create(spec)
    let open = 0
    // Everything in it has been taken down by now; what is left was left by somebody.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (options.isBroken(sandboxId)) return
        const processes = options.processes(sandboxId)
        if (processes.length > 0) blame("I7", `processes that are left in ${sandboxId}`, "none", processes)
        if (open > 0) blame("I7", `files that are left open in ${sandboxId}`, 0, open)
      })
    )
    return {
      ...made,
      fileSystem: {
        ...made.fileSystem,
        open: (path, how) =>
          Effect.acquireRelease(
            Effect.sync(() => void open++),
            () => Effect.sync(() => void open--)
          ).pipe(Effect.andThen(made.fileSystem.open(path, how)))
      },
      ping: Effect.suspend(() => {
        const one = told(sandboxId)
        // It may be acquired, or on its way down, before the check that is about to be interrupted.
        if (one?.status === "SettingUp" || one?.status === "ExitingSession") {
          blame("H1", `${sandboxId} is pinged`, "not while a session is set up or torn down", one.status)
        }
        if (one !== undefined) one.checks++
        return Effect.onExit(made.ping, () =>
          Effect.sync(() => {
            if (one !== undefined) one.checks--
          })
        )
      }),
      reset: Effect.suspend(() => {
        const one = told(sandboxId)
        if (one !== undefined && one.sessionUp.length > 0) {
          blame("S1", `${sandboxId} is reset while a session is set up`, "nothing", one.sessionUp)
        }
        if (one?.session !== undefined) blame("S1", `${sandboxId} is reset in a session`, "none", one.session)
        return Effect.tap(made.reset, () =>
          Effect.sync(() => {
            if (one !== undefined) one.wasReset = true
          })
        )
      })
    }
  })
  return { name: driver.name, create }
}
