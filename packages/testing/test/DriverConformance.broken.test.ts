/** The suite finds what is wrong: drivers that break the contract in one place fail there, and nowhere else. */
import * as DriverConformance from "@effect-sandbox/testing/DriverConformance"
import { SimDriver } from "@effect-sandbox/testing/SimDriver"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as broken from "./support/BrokenDrivers.ts"
import { host } from "./support/LocalHost.ts"

/** A quick check or two of every topic, which a driver passes that is broken elsewhere. */
const controls = [
  "spawn-not-found",
  "spawn-script",
  "exit-zero",
  "exit-known-once",
  "exit-by-sigkill",
  "arguments-verbatim",
  "env-extend",
  "cwd-given",
  "stdin-small",
  "stdin-binary",
  "output-apart",
  "output-merged-in-order",
  "output-pipeline",
  "kill-politely",
  "exec-cwd-and-env",
  "exec-not-started",
  "exec-output-limit",
  "exec-ends-are-told-apart",
  "session-is-a-platform",
  "file-write-read",
  "file-write-flags",
  "file-seen-by-commands",
  "file-rename-fails",
  "file-copy",
  "directory-read",
  "directory-remove",
  "handle-position",
  "chmod",
  "link-symbolic",
  "link-real-path",
  "name-odd-for-commands",
  "name-too-long",
  "watch-several",
  "workspace-of-commands",
  "home-lasts",
  "temporary-files",
  "confined-writing",
  "reset-links",
  "reset-open-file",
  "reset-keeps-set-up-processes",
  "isolation-files",
  "isolation-generations",
  "load-files",
  "ping-answers",
  "create-same-name-again",
  "leak-create-and-close",
  "death-of-one",
  "death-then-close",
  "death-while-writing-files",
  "session-death-elsewhere",
  "session-death-replaced"
]

interface Case {
  readonly what: string
  readonly breaking: broken.Breaking
  /** The checks that it must fail. */
  readonly fails: ReadonlyArray<string>
  /** Controls that it fails or passes as time has it. */
  readonly unsure?: ReadonlyArray<string>
  /** Whether it fails any check that runs at the same time as another. */
  readonly alone?: boolean
}

const cases: ReadonlyArray<Case> = [
  {
    what: "tells every end as exit code 0",
    breaking: broken.exitsWithZero,
    fails: [
      "exit-one",
      "exit-codes",
      "exit-by-sigkill",
      "exit-known-once",
      "spawn-script",
      "output-pipeline",
      "kill-politely",
      "exec-output-limit",
      "exec-ends-are-told-apart"
    ]
  },
  {
    what: "tells a death by signal as an exit code",
    breaking: broken.signalsAreCodes,
    fails: [
      "exit-by-sigkill",
      "exit-keeps-output-before-signal",
      "kill-politely",
      "exec-signalled",
      "exec-ends-are-told-apart"
    ]
  },
  { what: "runs a command that failed again", breaking: broken.retries, fails: ["spawn-runs-once", "exec-once"] },
  {
    what: "mixes stderr into stdout",
    breaking: broken.mergesStderr,
    fails: ["output-apart", "output-stderr-only", "exec-output-limit", "exec-result"]
  },
  {
    what: "loses input beyond 64 KB",
    breaking: broken.cutsInput,
    fails: ["stdin-large", "stdin-large-to-file", "exec-stdin-given", "load-large-outputs"]
  },
  {
    what: "leaves the input open when none is given",
    breaking: broken.leavesInputOpen,
    fails: ["stdin-ignored", "exec-stdin-closed"]
  },
  {
    what: "loses output beyond 1 MB",
    breaking: broken.cutsOutput,
    fails: ["output-both-large", "stdin-large", "output-pipeline-large"]
  },
  {
    what: "gives output only when the command has ended",
    breaking: broken.holdsOutputBack,
    fails: ["output-while-running", "stdin-dialogue", "exec-background-holds-output"],
    unsure: ["exec-cwd-and-env", "exec-ends-are-told-apart", "exec-output-limit"]
  },
  {
    what: "decodes output as text",
    breaking: broken.decodesOutput,
    fails: ["stdin-binary", "output-binary", "output-invalid-utf8", "output-split-characters", "exec-bytes-and-text"]
  },
  {
    what: "kills the command and not what it has started",
    breaking: broken.killsOnlyTheFirst,
    fails: [
      "kill-tree",
      "close-ends-tree",
      "close-ends-daemons",
      "interruption-ends-command",
      "exec-timeout-kills-tree",
      "exec-timeout-kills-daemons",
      "exec-interruption-kills"
    ]
  },
  { what: "takes a user that it cannot switch to", breaking: broken.acceptsAnyUser, fails: ["exec-user-refused"] },
  { what: "lets variables of the host in", breaking: broken.leaksVariables, fails: ["env-not-the-hosts"] },
  {
    what: "starts commands outside the workspace",
    breaking: broken.startsElsewhere,
    fails: [
      "cwd-default",
      "workspace-of-commands",
      "file-seen-by-commands",
      "death-of-one",
      "name-odd-for-commands",
      "session-is-a-platform",
      "spawn-script"
    ]
  },
  {
    what: "says no reason why a file cannot be read",
    breaking: broken.hidesReasons,
    fails: ["file-read-fails", "stat-fails", "link-dangling", "link-loop"]
  },
  { what: "changes names of files", breaking: broken.cutsNames, fails: ["name-odd"] },
  { what: "loses parts of large chunks", breaking: broken.losesWrites, fails: ["large-stream"] },
  {
    what: "never tells of changes",
    breaking: broken.watchesNothing,
    fails: ["watch-directory", "watch-file", "watch-commands", "watch-several"]
  },
  {
    what: "forgets temporary files at reset",
    breaking: broken.forgetsTemporaryFiles,
    fails: ["reset-temporary-files", "reset-between-sessions"]
  },
  { what: "forgets hidden files at reset", breaking: broken.forgetsHiddenFiles, fails: ["reset-files"] },
  {
    what: "forgets processes at reset",
    breaking: broken.forgetsProcesses,
    fails: ["reset-processes", "reset-running-commands", "session-end-kills"]
  },
  {
    what: "has one sandbox for all",
    breaking: broken.sharesOneSandbox,
    fails: [
      "isolation-files",
      "isolation-reset",
      "isolation-generations",
      "death-of-one",
      "death-then-close",
      "death-while-writing-files",
      "session-death-elsewhere",
      "session-death-replaced"
    ],
    alone: true
  },
  {
    what: "ends other sandboxes' commands",
    breaking: broken.killsStrangers,
    fails: ["isolation-close"],
    alone: true
  },
  {
    what: "leaves what was half made when creation is interrupted",
    breaking: broken.leaksInterruptedCreation,
    fails: ["leak-interrupted-create", "leak-interrupted-between-steps"]
  },
  {
    what: "holds a lock while a command runs",
    breaking: broken.locks,
    fails: [
      "load-hanging-commands",
      "exec-hang-holds-nobody",
      "kill-only-this",
      "death-of-one",
      "reset-keeps-set-up-processes"
    ]
  },
  { what: "reports deaths that there are not", breaking: broken.makesUpDeaths, fails: ["death-is-not-made-up"] },
  {
    what: "never tells of a death",
    breaking: broken.neverTellsOfDeath,
    fails: [
      "death-is-told",
      "death-ends-everything",
      "session-death-elsewhere",
      "session-death-in-exec",
      "death-of-one",
      "death-then-close",
      "death-while-writing-files",
      "session-death-replaced"
    ]
  },
  {
    what: "tells of a death after everything has failed",
    breaking: broken.tellsOfDeathLate,
    fails: [
      "death-while-waiting-for-exit",
      "death-while-reading-files",
      "death-while-pinging",
      "death-while-writing-files"
    ]
  },
  {
    what: "hangs after a death",
    breaking: broken.hangsAfterDeath,
    fails: ["death-while-waiting-for-exit", "death-while-reading-files", "death-while-pinging", "death-ends-everything"]
  },
  {
    what: "makes up an exit code after a death",
    breaking: broken.guessesAfterDeath,
    fails: ["death-while-waiting-for-exit", "death-keeps-what-was-received"]
  }
]

const driverNames = { hostVariable: "BROKEN_DRIVERS_VARIABLE" }
process.env[driverNames.hostVariable] = "of the host"

const failedOf = ({ results }: DriverConformance.Report): ReadonlyArray<string> =>
  results.flatMap(({ id, outcome }) => (outcome._tag === "Failed" ? [id] : []))

/** What a driver fails of the controls and of what it must fail. */
const failuresOf = ({ alone = false, breaking, fails, unsure = [] }: Case) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(SimDriver.layer({ seed: 1 }))
    const sim = Context.get(context, SimDriver)
    const report = yield* DriverConformance.run(breaking.pipe(Layer.provide(Layer.succeedContext(context))), {
      image: "base",
      capabilities: { home: true },
      kill: ({ spec }) => sim.kill(spec.sandboxId),
      alive: Effect.sync(() => sim.alive()),
      hostFile: { path: "/secret-of-the-host", read: Effect.succeed("secret") },
      ...driverNames,
      timeLimit: "20 seconds",
      concurrency: alone ? 1 : 6,
      only: { ids: [...new Set([...controls.filter((id) => !unsure.includes(id)), ...fails])] }
    })
    return failedOf(report)
  })

describe("a driver that", () => {
  for (const one of cases) {
    it.live(
      `${one.what} fails there, and nowhere else`,
      () => Effect.map(failuresOf(one), (failed) => assert.deepStrictEqual([...failed].sort(), [...one.fails].sort())),
      120_000
    )
  }

  it.live(
    "looks at paths and not at links fails there, and nowhere else",
    () =>
      Effect.gen(function* () {
        const local = yield* Effect.acquireRelease(
          Effect.sync(() => host("none")),
          ({ remove }) => Effect.sync(remove)
        )
        const report = yield* DriverConformance.run(broken.followsLinks.pipe(Layer.provide(local.layer)), {
          ...local.options,
          only: { topics: ["confinement", "copies", "links", "names", "workspace"] }
        })
        assert.deepStrictEqual(failedOf(report), [
          "confined-links",
          "confined-directory-links",
          "confined-links-by-commands"
        ])
      }),
    120_000
  )
})
