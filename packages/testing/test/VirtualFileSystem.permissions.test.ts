import { assert, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as VirtualFileSystem from "../src/VirtualFileSystem.ts"
import { errorOf } from "./support/FileErrors.ts"

const ada = { uid: 1000, gid: 100 }
const bob = { uid: 2000, gid: 100 }
const eve = { uid: 3000, gid: 300 }

const made = (files: VirtualFileSystem.Options["files"] = {}) =>
  Effect.map(VirtualFileSystem.make({ files, devices: false }), (made) => ({
    made,
    as: (user: VirtualFileSystem.User, options?: VirtualFileSystem.ViewOptions) =>
      made.view({ ...options, user: Effect.succeed(user) }),
    root: made.view()
  }))

const denied = "PermissionDenied EACCES"
const notPermitted = "PermissionDenied EPERM"

it.effect("the owner's, the group's and everybody's permissions are three things", () =>
  Effect.gen(function* () {
    const { as, root } = yield* made({
      "/read": { content: "x", mode: 0o640, ...ada },
      "/write": { content: "x", mode: 0o020, ...ada },
      "/odd": { content: "x", mode: 0o044, ...ada }
    })
    assert.strictEqual(yield* as(ada).readFileString("/read"), "x")
    assert.strictEqual(yield* as(bob).readFileString("/read"), "x")
    assert.strictEqual(yield* errorOf(as(eve).readFile("/read")), denied)
    assert.strictEqual(yield* errorOf(as(bob).writeFileString("/read", "")), denied)
    assert.strictEqual(yield* errorOf(as(bob).truncate("/write")), denied)
    yield* as(bob).writeFileString("/write", "y", { flag: "a" })
    // The first class that fits decides, also when a later one would allow more.
    assert.strictEqual(yield* errorOf(as(ada).readFile("/odd")), denied)
    assert.strictEqual(yield* as(eve).readFileString("/odd"), "x")
    assert.strictEqual(yield* root.readFileString("/write"), "xy")
  })
)

it.effect("access tells for the user who asks", () =>
  Effect.gen(function* () {
    const { as, root } = yield* made({
      "/f": { content: "", mode: 0o640, ...ada },
      "/d/f": "",
      "/d": { directory: true, mode: 0o700 }
    })
    yield* as(ada).access("/f", { readable: true, writable: true })
    yield* as(bob).access("/f", { readable: true })
    assert.strictEqual(yield* errorOf(as(bob).access("/f", { writable: true })), denied)
    yield* as(eve).access("/f")
    yield* as(eve).access("/f", { ok: true })
    assert.strictEqual(yield* errorOf(as(eve).access("/d/f")), denied)
    assert.strictEqual(yield* errorOf(as(eve).exists("/d/none")), denied)
    yield* root.access("/f", { readable: true, writable: true })
  })
)

it.effect("a directory is listed by r, searched by x and changed by w and x", () =>
  Effect.gen(function* () {
    const { as } = yield* made({
      "/list/f": "f",
      "/list": { directory: true, mode: 0o744 },
      "/search/f": "f",
      "/search": { directory: true, mode: 0o711 },
      "/write/f": "f",
      "/write": { directory: true, mode: 0o702 },
      "/all": { directory: true, mode: 0o777 }
    })
    const files = as(eve)
    assert.deepStrictEqual(yield* files.readDirectory("/list"), ["f"])
    assert.strictEqual(yield* errorOf(files.readFile("/list/f")), denied)
    assert.strictEqual(yield* errorOf(files.stat("/list/.")), denied)
    assert.strictEqual(yield* errorOf(files.stat("/list/..")), denied)
    assert.strictEqual(yield* errorOf(files.readDirectory("/search")), denied)
    assert.strictEqual(yield* files.readFileString("/search/f"), "f")
    for (const directory of ["/list", "/search", "/write"]) {
      const found = directory === "/search" ? "AlreadyExists EEXIST" : denied
      assert.strictEqual(yield* errorOf(files.writeFileString(`${directory}/new`, "")), denied)
      assert.strictEqual(yield* errorOf(files.makeDirectory(`${directory}/new`)), denied)
      assert.strictEqual(yield* errorOf(files.symlink("x", `${directory}/new`)), denied)
      assert.strictEqual(yield* errorOf(files.remove(`${directory}/f`)), denied)
      assert.strictEqual(yield* errorOf(files.rename(`${directory}/f`, "/all/f")), denied)
      assert.strictEqual(yield* errorOf(files.makeDirectory(`${directory}/f`)), found)
    }
    yield* files.writeFileString("/all/f", "")
    yield* files.remove("/all/f")
  })
)

it.effect("a sticky directory lets only owners remove and rename", () =>
  Effect.gen(function* () {
    const { as, root } = yield* made()
    yield* as(ada).writeFileString("/tmp/f", "ada")
    yield* as(ada).makeDirectory("/tmp/d")
    yield* as(ada).chmod("/tmp/d", 0o777)
    yield* as(bob).writeFileString("/tmp/d/f", "bob")
    assert.strictEqual(yield* errorOf(as(bob).remove("/tmp/f")), notPermitted)
    assert.strictEqual(yield* errorOf(as(bob).rename("/tmp/f", "/tmp/g")), notPermitted)
    yield* as(bob).writeFileString("/tmp/mine", "")
    assert.strictEqual(yield* errorOf(as(bob).rename("/tmp/mine", "/tmp/f")), notPermitted)
    // What is in the directory goes all the same, as far as it may.
    assert.strictEqual(yield* errorOf(as(bob).remove("/tmp/d", { recursive: true })), notPermitted)
    assert.deepStrictEqual(yield* root.readDirectory("/tmp"), ["d", "f", "mine"])
    assert.deepStrictEqual(yield* root.readDirectory("/tmp/d"), [])
    yield* as(ada).remove("/tmp/d", { recursive: true })
    yield* as(ada).remove("/tmp/f")
    yield* root.remove("/tmp/mine")
  })
)

it.effect("a tree is removed as far as its permissions go", () =>
  Effect.gen(function* () {
    const { as, made: system } = yield* made({
      "/all": { directory: true, mode: 0o777 },
      "/all/d": { directory: true, ...ada },
      "/all/d/a": "",
      "/all/d/locked": { directory: true, ...bob },
      "/all/d/locked/f": "",
      "/all/d/z": "",
      "/d": { directory: true, ...ada },
      "/d/f": ""
    })
    assert.strictEqual(yield* errorOf(as(ada).remove("/all/d", { recursive: true })), denied)
    // Who cannot remove the directory itself does not get further.
    assert.strictEqual(yield* errorOf(as(ada).remove("/d", { recursive: true })), denied)
    assert.deepStrictEqual(
      [...system.tree("/all"), ...system.tree("/d")],
      [
        "drwxr-xr-x 1000:100 /all/d",
        "drwxr-xr-x 2000:100 /all/d/locked",
        "-rw-r--r-- 0:0 0 /all/d/locked/f",
        "-rw-r--r-- 0:0 0 /d/f"
      ]
    )
  })
)

it.effect("only the owner changes mode and times, only root gives away", () =>
  Effect.gen(function* () {
    const { as, made: system, root } = yield* made({ "/f": { content: "x", mode: 0o666, ...ada } })
    assert.strictEqual(yield* errorOf(as(bob).chmod("/f", 0o777)), notPermitted)
    assert.strictEqual(yield* errorOf(as(bob).utimes("/f", 1, 1)), notPermitted)
    assert.strictEqual(yield* errorOf(as(bob).chown("/f", bob.uid, bob.gid)), notPermitted)
    assert.strictEqual(yield* errorOf(as(ada).chown("/f", bob.uid, -1)), notPermitted)
    assert.strictEqual(yield* errorOf(as(ada).chown("/f", -1, eve.gid)), notPermitted)
    yield* as(ada).chown("/f", ada.uid, ada.gid)
    yield* as(bob).chown("/f", -1, -1)
    yield* as(ada).chmod("/f", 0o600)
    yield* as(ada).utimes("/f", 1, 1)
    yield* root.chown("/f", eve.uid, eve.gid)
    assert.deepStrictEqual(system.tree("/f"), ["-rw------- 3000:300 1 /f"])
    assert.strictEqual(yield* errorOf(root.chown("/f", 1.5, 0)), "BadArgument")
    assert.strictEqual(yield* errorOf(root.chown("/none", 0, 0)), "NotFound ENOENT")
  })
)

it.effect("set-user and set-group go when the owner or the content changes", () =>
  Effect.gen(function* () {
    const { as, root } = yield* made({
      "/owner": { content: "x", mode: 0o6755, ...ada },
      "/content": { content: "x", mode: 0o6777, ...ada },
      "/root": { content: "x", mode: 0o6777, ...ada },
      "/group": { content: "x", mode: 0o644, uid: ada.uid, gid: eve.gid },
      "/locking": { content: "x", mode: 0o2666, ...ada }
    })
    const mode = (path: string) => Effect.map(root.stat(path), (info) => (info.mode & 0o7777).toString(8))
    yield* root.chown("/owner", bob.uid, -1)
    assert.strictEqual(yield* mode("/owner"), "755")
    yield* as(bob).writeFileString("/content", "y", { flag: "a" })
    assert.strictEqual(yield* mode("/content"), "777")
    yield* root.writeFileString("/root", "y")
    assert.strictEqual(yield* mode("/root"), "6777")
    yield* as(ada).chmod("/group", 0o6755)
    assert.strictEqual(yield* mode("/group"), "4755")
    // Without a group that may execute it, set-group stays for the group's own.
    yield* as(bob).writeFileString("/locking", "y")
    assert.strictEqual(yield* mode("/locking"), "2666")
    yield* as(eve).writeFileString("/locking", "z")
    assert.strictEqual(yield* mode("/locking"), "666")
    assert.strictEqual(yield* errorOf(as(bob).chown("/root", -1, -1)), notPermitted)
  })
)

it.effect("what is made belongs to its maker, in a set-group directory to the directory's group", () =>
  Effect.gen(function* () {
    const { as, made: system } = yield* made({ "/d": { directory: true, mode: 0o2777, uid: 0, gid: 500 } })
    const files = as(ada, { workdir: "/d" })
    yield* files.writeFileString("f", "")
    yield* files.makeDirectory("e")
    yield* files.symlink("f", "l")
    yield* as(bob).writeFileString("/tmp/f", "")
    assert.deepStrictEqual(system.tree("/d"), [
      "drwxr-sr-x 1000:500 /d/e",
      "-rw-r--r-- 1000:500 0 /d/f",
      "lrwxrwxrwx 1000:500 /d/l -> f"
    ])
    assert.deepStrictEqual(system.tree("/tmp"), ["-rw-r--r-- 2000:100 0 /tmp/f"])
  })
)

it.effect("hard links are made only to what one owns or may read and write", () =>
  Effect.gen(function* () {
    const { as } = yield* made({
      "/secret": { content: "", mode: 0o600, ...ada },
      "/shared": { content: "", mode: 0o666, ...ada },
      "/su": { content: "", mode: 0o4777, ...ada }
    })
    assert.strictEqual(yield* errorOf(as(eve).link("/secret", "/tmp/a")), notPermitted)
    assert.strictEqual(yield* errorOf(as(eve).link("/su", "/tmp/a")), notPermitted)
    yield* as(eve).link("/shared", "/tmp/a")
    yield* as(ada).link("/secret", "/tmp/b")
  })
)

it.effect("a handle keeps what its opener might do", () =>
  Effect.gen(function* () {
    const { as, root } = yield* made({ "/f": { content: "x", mode: 0o600, ...ada } })
    const file = yield* as(ada).open("/f", { flag: "r+" })
    yield* root.chown("/f", 0, 0)
    yield* root.chmod("/f", 0)
    yield* file.writeAll(new TextEncoder().encode("y"))
    assert.strictEqual(yield* root.readFileString("/f"), "y")
    assert.strictEqual(yield* errorOf(Effect.scoped(as(ada).open("/f"))), denied)
    // Who makes a file may write to it at once, whatever its mode says about later.
    yield* as(ada).writeFileString("/tmp/g", "z", { mode: 0o000 })
    assert.strictEqual(yield* errorOf(as(ada).readFile("/tmp/g")), denied)
  })
)

it.effect("a view asks for its user at every operation", () =>
  Effect.gen(function* () {
    const { made: system } = yield* made({ "/f": { content: "x", mode: 0o600, ...ada } })
    let user: VirtualFileSystem.User = ada
    const files = system.view({ user: Effect.sync(() => user) })
    assert.strictEqual(yield* files.readFileString("/f"), "x")
    user = eve
    assert.strictEqual(yield* errorOf(files.readFile("/f")), denied)
  })
)

it.effect("a working directory is a place where one already is", () =>
  Effect.gen(function* () {
    const { as } = yield* made({
      "/root/work/f": "x",
      "/root/work": { directory: true, mode: 0o755 },
      "/root": { directory: true, mode: 0o700 }
    })
    const files = as(eve, { workdir: "/root/work" })
    assert.strictEqual(yield* files.readFileString("f"), "x")
    assert.strictEqual(yield* errorOf(files.readFile("/root/work/f")), denied)
    assert.strictEqual(yield* errorOf(files.readFile("../work/f")), denied)
  })
)

it.effect("root is stopped by nothing but a file that nobody may execute", () =>
  Effect.gen(function* () {
    const { root } = yield* made({ "/d/f": { content: "x", mode: 0 }, "/d": { directory: true, mode: 0, ...ada } })
    assert.strictEqual(yield* root.readFileString("/d/f"), "x")
    yield* root.writeFileString("/d/g", "")
    yield* root.access("/d/f", { readable: true, writable: true })
    assert.deepStrictEqual((yield* root.stat("/d/g")).uid, Option.some(0))
  })
)
