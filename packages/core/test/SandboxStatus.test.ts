import { SandboxStatus } from "@effect-sandbox/core"
import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema } from "effect"

type Status = SandboxStatus.SandboxStatus

/** The table of DESIGN section 3, written down a second time. */
const table: ReadonlyArray<readonly [from: Status, to: Status]> = [
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

it("I5 the statuses are the eight of the design, in the order of a life", () => {
  assert.deepStrictEqual(
    [...SandboxStatus.all],
    ["Created", "SettingUp", "Ready", "Acquired", "InSession", "ExitingSession", "ShuttingDown", "Offline"]
  )
})

it("I5 of all 64 moves exactly the 14 of the table are legal", () => {
  const legal = SandboxStatus.all.flatMap((from) =>
    SandboxStatus.all.filter((to) => SandboxStatus.isLegal(from, to)).map((to) => `${from} -> ${to}`)
  )
  assert.sameMembers(
    legal,
    table.map(([from, to]) => `${from} -> ${to}`)
  )
  assert.strictEqual(legal.length, 14)
})

it.each(SandboxStatus.all.flatMap((from) => SandboxStatus.all.map((to) => [from, to] as const)))(
  "I5 %s -> %s",
  (from, to) => {
    assert.strictEqual(
      SandboxStatus.isLegal(from, to),
      table.some(([a, b]) => a === from && b === to)
    )
  }
)

it("I5 nothing moves to where it is, nothing comes after Offline, nothing goes back to Created", () => {
  for (const status of SandboxStatus.all) {
    assert.isFalse(SandboxStatus.isLegal(status, status))
    assert.isFalse(SandboxStatus.isLegal("Offline", status))
    assert.isFalse(SandboxStatus.isLegal(status, "Created"))
  }
})

it("I5 L11 from every status a sandbox can go offline, and from ShuttingDown it can do nothing else", () => {
  const reaches = (from: Status, to: Status, seen = new Set<Status>()): boolean =>
    from === to ||
    (!seen.has(from) &&
      SandboxStatus.all.some(
        (next) => SandboxStatus.isLegal(from, next) && reaches(next, to, new Set([...seen, from]))
      ))
  for (const status of SandboxStatus.all) assert.isTrue(reaches(status, "Offline"), status)
  for (const status of ["Ready", "Acquired", "SettingUp", "InSession"] as const) {
    assert.isFalse(reaches("ShuttingDown", status), status)
  }
})

it("I3 a session is entered only from SettingUp and left only through ExitingSession", () => {
  const before = SandboxStatus.all.filter((from) => SandboxStatus.isLegal(from, "InSession"))
  const after = SandboxStatus.all.filter((to) => SandboxStatus.isLegal("InSession", to))
  assert.deepStrictEqual(before, ["SettingUp"])
  assert.deepStrictEqual(after, ["ExitingSession"])
})

it("I5 online are the four statuses in which a sandbox is usable or about to be", () => {
  assert.deepStrictEqual(SandboxStatus.all.filter(SandboxStatus.isOnline), [
    "SettingUp",
    "Ready",
    "Acquired",
    "InSession"
  ])
})

it.effect.prop(
  "I5 a walk of legal moves ends in Offline as soon as it has come to ShuttingDown",
  [Arbitrary.array(Arbitrary.schema(Schema.Natural), { maxLength: 40 })],
  ([choices]) =>
    Effect.sync(() => {
      let status: Status = "Created"
      let leaving = false
      for (const choice of choices) {
        const next = SandboxStatus.all.filter((to) => SandboxStatus.isLegal(status, to))
        const to = next[choice % Math.max(1, next.length)]
        if (to === undefined) break
        if (leaving) assert.strictEqual(to, "Offline")
        leaving ||= to === "ShuttingDown"
        status = to
      }
    }),
  { arbitrary: { runs: 200 } }
)

it("I5 an environment is Created, Online, ShuttingDown and Offline, and nothing else", () => {
  for (const status of ["Created", "Online", "ShuttingDown", "Offline"]) {
    assert.isTrue(Schema.is(SandboxStatus.EnvironmentStatus)(status))
  }
  assert.isFalse(Schema.is(SandboxStatus.EnvironmentStatus)("Ready"))
  assert.isFalse(Schema.is(SandboxStatus.SandboxStatus)("Online"))
})
