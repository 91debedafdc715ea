/**
 * Permissions as the kernel sees them: random programs whose operations are made by several users do the same on the
 * virtual file system and on the real one. Only root can take other users' places, so for others this is skipped.
 * `FILE_PROGRAMS` says how many programs, `FILE_REPLAY` takes the token of one that failed.
 */
import { existsSync, readFileSync } from "node:fs"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, FileSystem, Schema } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { inOrder, mapMode, Operation, runner } from "./support/FileOperations.ts"

const users = [
  { uid: 0, gid: 0 },
  { uid: 1000, gid: 1000 },
  { uid: 2000, gid: 1000 },
  { uid: 3000, gid: 3000 }
] as const

const program = Arbitrary.array(
  Arbitrary.all({
    user: Arbitrary.schema(Schema.Literals([1, 2, 3, 1, 2, 0])),
    operation: Arbitrary.schema(Operation)
  }),
  { minLength: 1, maxLength: 40 }
)

const runs = Number(process.env["FILE_PROGRAMS"] ?? 200)

/** Worker threads cannot change it. */
const canBecomeOthers = process.getuid?.() === 0 && process.seteuid !== undefined

const isProtecting = (what: string): boolean => {
  const file = `/proc/sys/fs/protected_${what}`
  return existsSync(file) && readFileSync(file, "utf8").trim() !== "0"
}
/** What Linux adds for sticky directories, where it is told to, is none of POSIX. */
const allowed = isProtecting("symlinks") || isProtecting("regular") ? 0o6777 : 0o7777

/** Works as another user. The process is this test's alone, and does nothing else meanwhile. */
const as = (user: VirtualFileSystem.User) => {
  const become = (uid: number, gid: number) =>
    Effect.sync(() => {
      process.seteuid?.(0)
      process.setegid?.(gid)
      process.seteuid?.(uid)
    })
  return <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      become(user.uid, user.gid),
      () => effect,
      () => become(0, 0)
    )
}

describe.skipIf(!canBecomeOthers)("several users (needs root, to take their places)", () => {
  it.effect.prop(
    "lets them do what the kernel lets them do",
    [program],
    ([steps]) =>
      Effect.gen(function* () {
        const groups = process.getgroups?.() ?? []
        process.setgroups?.([])
        yield* Effect.addFinalizer(() => Effect.sync(() => process.setgroups?.(groups)))
        const real = yield* FileSystem.FileSystem
        const top = yield* real.realPath(yield* real.makeTempDirectoryScoped())
        yield* real.chmod(top, 0o755)
        const root = `${top}/only/here`
        yield* real.makeDirectory(root, { recursive: true })
        const mode = 0o1777 & allowed
        yield* real.chmod(root, mode)
        const made = yield* VirtualFileSystem.make({ files: { [root]: { directory: true, mode } } })
        const onReal = runner(real, root)
        let user: VirtualFileSystem.User = users[0]
        const view = { umask: process.umask(), user: Effect.sync(() => user) }
        const onVirtual = runner(made.view(view), root)
        yield* Effect.addFinalizer(() => onReal.close)
        const lines: Array<string> = []
        for (const step of steps) {
          const operation = mapMode(step.operation, (mode) => mode & allowed)
          user = users[step.user]
          // These ask for the real user, which stays root.
          if (operation._tag === "Access" || operation._tag === "Exists") continue
          if (operation._tag === "Link" && !isProtecting("hardlinks")) continue
          if (!(yield* inOrder(operation, made, view, root))) continue
          const expected = yield* as(user)(onReal.run(operation))
          lines.push(`${user.uid} ${JSON.stringify(operation)} -> ${expected}`)
          const got = yield* onVirtual.run(operation)
          // Linux looks whose link it is in a sticky directory before it sees that links are not wanted.
          if (operation._tag === "Open" && operation.noFollow && got.includes("ELOOP")) continue
          assert.strictEqual(got, expected, `after\n${lines.join("\n")}\n`)
        }
        user = users[0]
        const [got, expected] = [yield* onVirtual.snapshot, yield* onReal.snapshot]
        assert.isTrue(got === expected, `after\n${lines.join("\n")}\nthere is\n${got}\nand not\n${expected}\n`)
      }).pipe(Effect.provide(NodeServices.layer), Effect.scoped),
    { timeout: 60_000 + 100 * runs, arbitrary: { runs, size: 60, replay: process.env["FILE_REPLAY"] } }
  )
})
