/**
 * The virtual file system beside the real one: random programs of operations do the same on both, operation by operation,
 * and leave the same files behind. `FILE_PROGRAMS` says how many programs, `FILE_REPLAY` takes the token of one that failed.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect, FileSystem } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { inOrder, mapMode, Operation, runner } from "./support/FileOperations.ts"

const program = Arbitrary.array(Arbitrary.schema(Operation), { minLength: 1, maxLength: 40 })

const runs = Number(process.env["FILE_PROGRAMS"] ?? 300)

const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

it.effect.prop(
  "does what Node's file system does",
  [program],
  ([operations]) =>
    Effect.gen(function* () {
      const real = yield* FileSystem.FileSystem
      // Two levels of its own, so that nothing else would suffer from a path that leads out.
      const root = `${yield* real.realPath(yield* real.makeTempDirectoryScoped())}/only/here`
      yield* real.makeDirectory(root, { recursive: true })
      const made = yield* VirtualFileSystem.make({ files: { [root]: { directory: true, ...user } } })
      const view = { umask: process.umask(), user: Effect.succeed(user) }
      const onReal = runner(real, root)
      const onVirtual = runner(made.view(view), root)
      yield* Effect.addFinalizer(() => onReal.close)
      const lines: Array<string> = []
      for (const given of operations) {
        // Who is not root may be in more groups than ours, and could not remove what he may not enter.
        if (user.uid !== 0 && given._tag === "Chown") continue
        const operation = user.uid === 0 ? given : mapMode(given, (mode) => mode | 0o700)
        if (!(yield* inOrder(operation, made, view, root))) continue
        const expected = yield* onReal.run(operation)
        lines.push(`${JSON.stringify(operation)} -> ${expected}`)
        assert.strictEqual(yield* onVirtual.run(operation), expected, `after\n${lines.join("\n")}\n`)
      }
      const [got, expected] = [yield* onVirtual.snapshot, yield* onReal.snapshot]
      assert.isTrue(got === expected, `after\n${lines.join("\n")}\nthere is\n${got}\nand not\n${expected}\n`)
    }).pipe(Effect.provide(NodeServices.layer), Effect.scoped),
  { timeout: 60_000 + 100 * runs, arbitrary: { runs, size: 60, replay: process.env["FILE_REPLAY"] } }
)
