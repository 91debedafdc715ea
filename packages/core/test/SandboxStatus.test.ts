import { SandboxStatus } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"

/** The table of the design, row by row. */
const moves: ReadonlyArray<readonly [SandboxStatus.SandboxStatus, SandboxStatus.SandboxStatus]> = [
  ["Created", "SettingUp"],
  ["SettingUp", "Ready"],
  ["SettingUp", "InSession"],
  ["SettingUp", "ShuttingDown"],
  ["Ready", "Acquired"],
  ["Ready", "ShuttingDown"],
  ["Acquired", "SettingUp"],
  ["Acquired", "ShuttingDown"],
  ["Acquired", "Ready"],
  ["InSession", "ExitingSession"],
  ["ExitingSession", "Ready"],
  ["ExitingSession", "SettingUp"],
  ["ExitingSession", "ShuttingDown"],
  ["ShuttingDown", "Offline"]
]

const statuses: ReadonlyArray<SandboxStatus.SandboxStatus> = [
  "Created",
  "SettingUp",
  "Ready",
  "Acquired",
  "InSession",
  "ExitingSession",
  "ShuttingDown",
  "Offline"
]

it("I5 the moves of the table are legal, and nothing else", () => {
  for (const from of statuses) {
    for (const to of statuses) {
      const expected = moves.some(([a, b]) => a === from && b === to)
      assert.strictEqual(SandboxStatus.isLegal(from, to), expected, `${from} -> ${to}`)
    }
  }
})

it("online is what serves or will serve", () => {
  assert.deepStrictEqual(statuses.filter(SandboxStatus.isOnline), ["SettingUp", "Ready", "Acquired", "InSession"])
})
