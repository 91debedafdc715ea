/** The local driver's sandboxes from inside: streams, environment, confinement of files, reset, isolation. */
import { Environment, EventRecorder, Feature, LocalDriver, Sandbox } from "@effect-sandbox/core"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, FileSystem, Layer, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import * as nodeFs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import {
  bubblewrapWorks,
  cannot,
  exec,
  inSession,
  instance,
  lab,
  levels,
  output,
  sh,
  token
} from "./support/LocalTest.ts"

const limit = { timeout: 60_000 }

const denied = <A, R>(what: string, effect: Effect.Effect<A, { readonly _tag: string }, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return assert.fail(`${what} went through`)
    const error = exit.cause.reasons[0]
    const reason =
      error?._tag === "Fail" && "reason" in error.error ? (error.error.reason as { readonly _tag: string })._tag : error
    assert.strictEqual(reason, "PermissionDenied", what)
  })

for (const isolation of levels) {
  describe.skipIf(cannot(isolation))(`isolation ${isolation}`, () => {
    const session = <A, E, R>(body: Effect.Effect<A, E, R>) => inSession({ isolation }, body)

    it.live(
      "F7 standard input is closed unless there is some",
      () =>
        session(
          Effect.gen(function* () {
            assert.strictEqual(yield* output("cat; echo end", { timeout: "10 seconds" }), "end\n")
            assert.strictEqual(yield* output("cat", { stdin: "given" }), "given")
          })
        ),
      limit
    )

    it.live(
      "F7 an endless prompt is cut at the output limit, which is reported; nothing more is held in memory",
      () =>
        session(
          Effect.gen(function* () {
            const before = process.memoryUsage().rss
            const flood = yield* sh("yes prompt | head -c 300000000", { maxOutputBytes: 65_536 })
            assert.deepStrictEqual(flood.outcome, { _tag: "Exited", code: 0 })
            assert.strictEqual(flood.stdoutBytes.length, 65_536)
            assert.deepStrictEqual(flood.truncated, { stdout: true, stderr: false })
            assert.isBelow(process.memoryUsage().rss - before, 150 * 1024 * 1024)
            const killed = yield* sh("yes prompt", { maxOutputBytes: 1000, onOutputLimit: "kill" })
            assert.deepStrictEqual(killed.outcome, { _tag: "OutputLimit", maxOutputBytes: 1000 })
            assert.strictEqual(killed.stdoutBytes.length, 1000)
          })
        ),
      limit
    )

    it.live(
      "F13 the working directory is set by the driver, whatever its name",
      () =>
        session(
          Effect.gen(function* () {
            const fs = yield* FileSystem.FileSystem
            for (const name of ["with space", `quo"te'$(id)`, "new\nline", "-dash", "ünïcode"]) {
              yield* fs.makeDirectory(name)
              const result = yield* exec("pwd", [], { cwd: name })
              assert.isTrue(result.stdout.endsWith(`/${name}\n`), JSON.stringify(result))
            }
            yield* denied("cwd", exec("pwd", [], { cwd: "/" }))
            yield* denied("cwd", exec("pwd", [], { cwd: "../.." }))
          })
        ),
      limit
    )

    it.live(
      "F14 standard output and error are apart, in order and complete at exit",
      () =>
        session(
          Effect.gen(function* () {
            const script = "i=0; while [ $i -lt 20000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
            const { stderr, stdout } = yield* sh(script)
            const lines = (word: string) => Array.from({ length: 20_000 }, (_, i) => `${word} ${i}\n`).join("")
            assert.isTrue(stdout === lines("out"))
            assert.isTrue(stderr === lines("err"))
            const large = yield* sh("head -c 10000000 /dev/zero", { maxOutputBytes: 20_000_000 })
            assert.strictEqual(large.stdoutBytes.length, 10_000_000)
          })
        ),
      limit
    )

    it.live(
      "F16 characters that are split over chunks are decoded whole; what is no UTF-8 is replaced",
      () =>
        session(
          Effect.gen(function* () {
            const script = `printf '\\342\\202'; sleep 0.2; printf '\\254 \\360\\237'; sleep 0.2; printf '\\230\\200'`
            assert.strictEqual(yield* output(script), "€ 😀")
            assert.strictEqual(yield* output(`printf 'a\\377b'`), "a\uFFFDb")
            assert.deepStrictEqual([...(yield* sh(`printf '\\377\\000\\376'`)).stdoutBytes], [255, 0, 254])
          })
        ),
      limit
    )

    it.live(
      "F17 all of standard input arrives; a command that stops reading is no error",
      () =>
        session(
          Effect.gen(function* () {
            const input = new Uint8Array(5_000_000).fill(120)
            assert.strictEqual((yield* output("wc -c", { stdin: input })).trim(), "5000000")
            const chunks = Stream.fromIterable(Array.from({ length: 500 }, () => input.subarray(0, 10_000)))
            assert.strictEqual((yield* output("wc -c", { stdin: chunks })).trim(), "5000000")
            assert.strictEqual(yield* output("head -c 3", { stdin: input }), "xxx")
            assert.strictEqual(yield* output("true", { stdin: input }), "")
          })
        ),
      limit
    )

    it.live(
      "F20 orphans are reaped",
      () =>
        session(
          Effect.gen(function* () {
            const script =
              "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit' ; done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
            if (isolation === "bubblewrap") assert.strictEqual((yield* output(script)).trim(), "0")
            else yield* output("for i in 1 2 3; do sh -c 'sleep 0.1 & exit'; done")
          })
        ),
      limit
    )

    it.live(
      "the environment is clean, and can be added to and taken from",
      () =>
        session(
          Effect.gen(function* () {
            process.env["EFFECT_SANDBOX_SECRET"] = "secret"
            const sandbox = yield* Sandbox
            const env = yield* output("env", { env: { ADDED: "yes", LANG: undefined } })
            assert.notInclude(env, "secret")
            assert.include(env, "ADDED=yes\n")
            assert.notInclude(env, "LANG=")
            assert.include(env, `HOME=${sandbox.workdir}\n`)
          })
        ),
      limit
    )

    it.live(
      "X1 what cannot be started is a typed error",
      () =>
        session(
          Effect.gen(function* () {
            const fs = yield* FileSystem.FileSystem
            yield* fs.writeFileString("script", "#!/bin/sh\necho hi\n")
            yield* denied("not executable", exec("./script"))
            yield* fs.chmod("script", 0o755)
            assert.strictEqual((yield* exec("./script")).stdout, "hi\n")
            const missing = yield* Effect.flip(exec("no-such-command"))
            assert.strictEqual("reason" in missing ? missing.reason._tag : missing._tag, "NotFound")
          })
        ),
      limit
    )

    it.live(
      "pipes and shells of Effect's own process module work inside",
      () =>
        session(
          Effect.gen(function* () {
            const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
            const piped = ChildProcess.make("printf", ["b\\na\\n"]).pipe(ChildProcess.pipeTo(ChildProcess.make("sort")))
            assert.strictEqual(yield* spawner.string(piped), "a\nb\n")
            assert.strictEqual(yield* spawner.string(ChildProcess.make("echo $((1+1))", { shell: true })), "2\n")
          })
        ),
      limit
    )

    it.live(
      "S1 reset leaves nothing: files, temporary files, processes, also those that called setsid",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const env = yield* lab({ isolation }, { pool: 1 })
            const sleep = token()
            yield* env.withSession(
              {},
              sh(
                `mkdir -p locked/deep; echo x > locked/deep/file; chmod 000 locked/deep locked; touch .hidden 'new
line'; ln -s /etc link; echo x > $TMPDIR/temporary; chmod 500 .;
              setsid sleep ${sleep} & env -i setsid sleep ${sleep} & (sleep ${sleep} &) ; sleep 0.2`
              )
            )
            const seen = yield* env.withSession(
              {},
              Effect.gen(function* () {
                const fs = yield* FileSystem.FileSystem
                yield* fs.writeFileString("writable", "again")
                return [yield* fs.readDirectory("."), yield* output('ls -A "$TMPDIR" | grep -v effect-sandbox || true')]
              })
            )
            assert.deepStrictEqual(seen, [["writable"], ""])
            const alive = nodeFs
              .readdirSync("/proc")
              .filter((pid) => /^\d+$/.test(pid))
              .filter((pid) => {
                try {
                  return nodeFs.readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`sleep\0${sleep}`)
                } catch {
                  return false
                }
              })
            assert.deepStrictEqual(alive, [])
          })
        ),
      limit
    )

    it.live(
      "S1 what set-up makes stays, and sessions cannot change it",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            class Tool extends Context.Service<Tool, { readonly file: string }>()("test/Tool") {}
            const tool = Feature.make(Tool, {
              setup: Effect.gen(function* () {
                const { home } = yield* Sandbox
                const fs = yield* FileSystem.FileSystem
                yield* fs.makeDirectory(home, { recursive: true })
                yield* fs.writeFileString(`${home}/tool`, "works")
                yield* fs.writeFileString("in the workspace", "is gone before the first session")
                return { session: Effect.succeed({ file: `${home}/tool` }) }
              })
            })
            const driver = yield* Layer.build(LocalDriver.layer({ isolation }).pipe(Layer.provide(NodeServices.layer)))
            const env = yield* Environment.make({ images: ["a"], pool: 1, features: [tool] }).pipe(
              Effect.provide(driver)
            )
            for (let i = 0; i < 3; i++) {
              yield* env.withSession(
                {},
                Effect.gen(function* () {
                  const { file } = yield* Tool
                  const fs = yield* FileSystem.FileSystem
                  assert.deepStrictEqual(yield* fs.readDirectory("."), [])
                  assert.strictEqual(yield* fs.readFileString(file), "works")
                  assert.strictEqual(yield* output(`cat '${file}'`), "works")
                  yield* denied("write", fs.writeFileString(file, "changed"))
                  yield* denied("remove", fs.remove(file))
                  if (isolation === "bubblewrap") {
                    assert.deepInclude(yield* sh(`echo changed > '${file}'`), { outcome: { _tag: "Exited", code: 2 } })
                  }
                  yield* fs.writeFileString("mine", "x")
                })
              )
            }
          })
        ),
      limit
    )

    it.live(
      "templates are what every session's workspace starts with",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const template = nodeFs.mkdtempSync(path.join(os.tmpdir(), "template-"))
            nodeFs.mkdirSync(path.join(template, "src"))
            nodeFs.writeFileSync(path.join(template, "src/main.txt"), "original")
            const env = yield* lab({ isolation, images: { shell: template } }, { pool: 1 })
            for (let i = 0; i < 2; i++) {
              const text = yield* env.withSession(
                {},
                output("cat src/main.txt; echo changed > src/main.txt; touch more; ls")
              )
              assert.strictEqual(text, "originalmore\nsrc\n")
            }
            assert.strictEqual(nodeFs.readFileSync(path.join(template, "src/main.txt"), "utf8"), "original")
            nodeFs.rmSync(template, { recursive: true })
          })
        ),
      limit
    )
  })
}

describe("confinement of files", () => {
  it.live(
    "`..`, absolute paths and links that lead outside are PermissionDenied, for every operation",
    () =>
      inSession(
        { isolation: "none" },
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const outside = nodeFs.mkdtempSync(path.join(os.tmpdir(), "outside-"))
          nodeFs.writeFileSync(path.join(outside, "secret"), "secret")
          yield* sh(
            `ln -s ${outside} out; ln -s ${outside}/secret secret; ln -s ${outside}/new dangling; ln -s ../.. up`
          )
          yield* fs.writeFileString("mine", "mine")
          const paths = [`${outside}/secret`, "out/secret", "secret", "up/x", "../x", "/etc/passwd", "./a/../../../x"]
          for (const one of paths) {
            yield* denied(`readFile ${one}`, fs.readFile(one))
            yield* denied(`readFileString ${one}`, fs.readFileString(one))
            yield* denied(`writeFile ${one}`, fs.writeFileString(one, "x"))
            yield* denied(`stat ${one}`, fs.stat(one))
            yield* denied(`exists ${one}`, fs.exists(one))
            yield* denied(`access ${one}`, fs.access(one))
            yield* denied(`open ${one}`, Effect.scoped(fs.open(one, { flag: "r" })))
            yield* denied(`truncate ${one}`, fs.truncate(one))
            yield* denied(`chmod ${one}`, fs.chmod(one, 0o777))
            yield* denied(`chown ${one}`, fs.chown(one, 1, 1))
            yield* denied(`utimes ${one}`, fs.utimes(one, 0, 0))
            yield* denied(`realPath ${one}`, fs.realPath(one))
            yield* denied(`copyFile from ${one}`, fs.copyFile(one, "copy"))
            yield* denied(`copyFile to ${one}`, fs.copyFile("mine", one))
            yield* denied(`copy ${one}`, fs.copy(one, "copy"))
            yield* denied(`link ${one}`, fs.link(one, "hard"))
            yield* denied(`makeDirectory ${one}`, fs.makeDirectory(one, { recursive: true }))
            yield* denied(`stream ${one}`, Stream.runDrain(fs.stream(one)))
            yield* denied(`sink ${one}`, Stream.run(Stream.make(new Uint8Array(1)), fs.sink(one)))
            yield* denied(`watch ${one}`, Stream.runDrain(fs.watch(one)))
          }
          yield* denied("a dangling link out", fs.writeFileString("dangling", "x"))
          for (const one of [`${outside}/secret`, "out/secret", "../x", "/etc/passwd"]) {
            yield* denied(`remove ${one}`, fs.remove(one))
            yield* denied(`rename from ${one}`, fs.rename(one, "here"))
            yield* denied(`rename to ${one}`, fs.rename("mine", one))
            yield* denied(`symlink at ${one}`, fs.symlink("mine", one))
            yield* denied(`lstat ${one}`, fs.lstat(one))
            yield* denied(`readLink ${one}`, fs.readLink(one))
          }
          for (const one of [outside, "out", "..", "/"]) {
            yield* denied(`readDirectory ${one}`, fs.readDirectory(one))
            yield* denied(`makeTempFile ${one}`, fs.makeTempFile({ directory: one }))
            yield* denied(`makeTempDirectory ${one}`, fs.makeTempDirectory({ directory: one }))
          }
          assert.deepStrictEqual(nodeFs.readdirSync(outside), ["secret"])
          assert.strictEqual(nodeFs.readFileSync(path.join(outside, "secret"), "utf8"), "secret")
          nodeFs.rmSync(outside, { recursive: true })
        })
      ),
    limit
  )

  it.live(
    "inside, everything works: relative paths, links, temporary files, removal of a link itself",
    () =>
      inSession(
        { isolation: "none" },
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const { workdir } = yield* Sandbox
          yield* fs.makeDirectory("a/b", { recursive: true })
          yield* fs.writeFileString("a/b/file", "text")
          yield* fs.symlink("a/b", "link")
          assert.strictEqual(yield* fs.readFileString("link/file"), "text")
          assert.strictEqual(yield* fs.readFileString(`${workdir}/a/../a/b/file`), "text")
          assert.strictEqual(yield* fs.realPath("link"), `${workdir}/a/b`)
          yield* fs.remove("link")
          assert.isTrue(yield* fs.exists("a/b/file"))
          const temporary = yield* fs.makeTempFile()
          yield* fs.writeFileString(temporary, "t")
          assert.strictEqual(yield* output('ls "$TMPDIR" | wc -l').pipe(Effect.map((text) => text.trim())), "1")
          assert.deepStrictEqual(yield* fs.glob("**/file"), ["a/b/file"])
          assert.isFalse(yield* fs.exists("nothing/here"))
          yield* denied("removing the workspace", fs.remove(".", { recursive: true }))
        })
      ),
    limit
  )
})

describe.skipIf(!bubblewrapWorks)("isolation bubblewrap holds", () => {
  const session = <A, E, R>(body: Effect.Effect<A, E, R>) => inSession({ isolation: "bubblewrap" }, body)

  it.live(
    "nothing outside the workspace can be written, and the kernel's settings neither",
    () =>
      session(
        Effect.gen(function* () {
          for (const target of [
            "/usr/x",
            "/etc/x",
            "/x",
            "/bin/x",
            "/proc/sys/kernel/hostname",
            "/proc/sysrq-trigger"
          ]) {
            const result = yield* sh(`echo 1 > ${target}`)
            assert.notDeepEqual(result.outcome, { _tag: "Exited", code: 0 }, target)
          }
          assert.strictEqual(yield* output("echo ok > /tmp/x && cat /tmp/x"), "ok\n")
        })
      ),
    limit
  )

  it.live(
    "other sandboxes' files and host processes cannot be seen",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const other = yield* instance({ isolation: "bubblewrap" })
          yield* other.fileSystem.writeFileString("secret", "secret")
          nodeFs.writeFileSync(path.join(os.tmpdir(), "host-secret"), "secret")
          const seen = yield* session(
            output(
              `cat '${other.workdir}/secret' ${os.tmpdir()}/host-secret /etc/shadow 2>/dev/null; ls /proc | grep -c '^[0-9]'; true`
            )
          )
          assert.notInclude(seen, "secret")
          assert.isBelow(Number(seen.trim().split("\n").at(-1)), 10)
          assert.strictEqual((yield* session(sh(`kill -9 ${process.pid}`))).stderr.includes("No such process"), true)
        })
      ),
    limit
  )

  it.live(
    "no capabilities, no new privileges, no user namespaces, no killing of the first process",
    () =>
      session(
        Effect.gen(function* () {
          const status = yield* output("cat /proc/self/status")
          for (const set of ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"]) {
            assert.match(status, new RegExp(`${set}:\\s+0+\\n`))
          }
          assert.match(status, /NoNewPrivs:\s+1/)
          assert.notStrictEqual((yield* output("id -u")).trim(), "0")
          assert.notDeepEqual((yield* sh("unshare -U true")).outcome, { _tag: "Exited", code: 0 })
          assert.strictEqual(yield* output("kill -9 1 2>/dev/null; kill -9 -1 2>/dev/null; echo alive"), "alive\n")
        })
      ),
    limit
  )

  it.live(
    "no network unless asked for",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const server = net.createServer((socket) => socket.end("hello"))
          yield* Effect.acquireRelease(
            Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
            () => Effect.sync(() => server.close())
          )
          const address = server.address()
          const port = typeof address === "object" && address !== null ? address.port : 0
          const connect = `perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new("127.0.0.1:${port}") or exit 9; print <$s>'`
          assert.deepStrictEqual((yield* session(sh(connect))).outcome, { _tag: "Exited", code: 9 })
          const open = yield* inSession({ isolation: "bubblewrap", network: true }, sh(connect))
          assert.strictEqual(open.stdout, "hello", open.stderr)
        })
      ),
    limit
  )

  it.live(
    "a fork bomb is held by maxProcesses",
    () =>
      inSession(
        { isolation: "bubblewrap", maxProcesses: 40 },
        Effect.gen(function* () {
          const bomb = yield* sh("f() { f | f & }; f; sleep 1", { timeout: "5 seconds" })
          assert.notStrictEqual(bomb.outcome._tag, "Unknown")
          yield* Effect.sleep("500 millis")
          assert.strictEqual(yield* output("echo fine"), "fine\n")
        })
      ),
    limit
  )
})

describe("options", () => {
  const failure = (options: LocalDriver.Options) =>
    Effect.flip(Effect.scoped(Layer.build(LocalDriver.layer(options).pipe(Layer.provide(NodeServices.layer)))))

  it.live("F5 X1 invalid options are reported together, with their paths", () =>
    Effect.gen(function* () {
      const error = yield* failure({ isolation: "strong" as "none", maxProcesses: 1.5, forceKillAfter: -1 })
      assert.strictEqual(error._tag, "InvalidConfigurationError")
      for (const option of ["isolation", "maxProcesses", "forceKillAfter"]) assert.include(error.message, option)
      assert.include((yield* failure({ images: { a: "/no/such/directory" } })).message, "images.a")
    })
  )

  it.live("F5 an option that cannot be honoured is refused", () =>
    Effect.gen(function* () {
      const network = yield* failure({ isolation: "none", network: false })
      assert.strictEqual(network._tag, "UnsupportedOptionError")
      const user = yield* inSession({ isolation: "none" }, Effect.flip(exec("id", [], { user: "nobody" })))
      assert.strictEqual(user._tag, "UnsupportedOptionError")
    })
  )

  it.live("auto falls back, and says so in the sandbox and in an event", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const blind = Layer.effect(
          FileSystem.FileSystem,
          Effect.map(FileSystem.FileSystem, (fs) => ({
            ...fs,
            exists: (file: string) => (file.endsWith("/bwrap") ? Effect.succeed(false) : fs.exists(file))
          }))
        ).pipe(Layer.provideMerge(NodeServices.layer))
        const driver = yield* Layer.build(LocalDriver.layer().pipe(Layer.provide(blind)))
        const recorder = yield* Layer.build(EventRecorder.layer)
        const env = yield* Environment.make({ images: ["a"] }).pipe(Effect.provide(Context.merge(driver, recorder)))
        const isolation = yield* env.withSession(
          {},
          Effect.map(Sandbox, (sandbox) => sandbox.isolation)
        )
        assert.strictEqual(isolation.level, "none")
        assert.include(isolation.fallback?.reason ?? "", "bwrap is not installed")
        const events = yield* Context.get(recorder, EventRecorder).events
        const started = events.find((event) => event._tag === "SandboxStarted")
        assert.strictEqual(started?.isolation, "none")
        assert.include(started?.isolationFallback ?? "", "bwrap")
      })
    )
  )

  it.live("L27 ids that look like paths stay inside the root, and different ids get different directories", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const root = nodeFs.realpathSync(nodeFs.mkdtempSync(path.join(os.tmpdir(), "root-")))
        const ids = ["..", "/etc", "../../x", "a/b", "a%2f;b", "a b", ".", "x".repeat(500)]
        const directories: Array<string> = []
        yield* Effect.scoped(
          Effect.forEach(ids, (sandboxId) =>
            Effect.map(instance({ isolation: "none", root }, { sandboxId, environmentId: sandboxId }), (made) => {
              directories.push(path.dirname(made.workdir))
            })
          )
        )
        assert.strictEqual(new Set(directories).size, ids.length)
        for (const directory of directories) {
          assert.isTrue(directory.startsWith(`${root}/`), directory)
          assert.isFalse(nodeFs.existsSync(directory), "I7 it is gone")
        }
        nodeFs.rmSync(root, { recursive: true })
      })
    )
  )
})
