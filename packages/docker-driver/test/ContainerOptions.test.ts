import { assert, it } from "@effect/vitest"
import * as OptionCheck from "@effect-sandbox/core/Options"
import * as ContainerOptions from "../src/ContainerOptions.ts"
import * as containerBody from "../src/internal/containerBody.ts"

const image = { id: "sha256:1", env: ["PATH=/bin", "A=b=c"], user: "", volumes: ["/data"], labels: {} }

it("the defaults are the safe ones", () => {
  const options = ContainerOptions.resolve()
  assert.strictEqual(options.network, "none")
  assert.strictEqual(options.reuse, "reset")
  assert.strictEqual(containerBody.userOf(options, image), "1000:1000")
  assert.deepStrictEqual(containerBody.writableOf(options, image), ["/workspace", "/tmp", "/var/tmp", "/run", "/data"])
})

it("commands run as the image's user unless that is root", () => {
  const options = ContainerOptions.resolve()
  for (const user of ["", "0", "root", "0:5", "root:root"]) {
    assert.strictEqual(containerBody.userOf(options, { ...image, user }), "1000:1000", user)
  }
  assert.strictEqual(containerBody.userOf(options, { ...image, user: "node:staff" }), "node:staff")
  assert.strictEqual(containerBody.userOf(ContainerOptions.resolve({ user: "0" }), image), "0")
})

it("later options go before earlier ones, undefined ones before none", () => {
  const options = ContainerOptions.resolve({ pids: 10, memory: 2 ** 28 }, undefined, { pids: 20, memory: undefined })
  assert.strictEqual(options.pids, 20)
  assert.strictEqual(options.memory, 2 ** 28)
  assert.strictEqual(options.disk, 2 ** 27)
})

it("the environment is the image's, then ours, then the option's", () => {
  const environment = containerBody.environmentOf(ContainerOptions.resolve({ env: { HOME: "/elsewhere" } }), image)
  assert.deepStrictEqual(environment, {
    PATH: "/bin",
    LANG: "C.UTF-8",
    A: "b=c",
    HOME: "/elsewhere",
    TMPDIR: "/tmp"
  })
})

it("an exact id goes before patterns, and those go in order", () => {
  const images = { "a.*": { pids: 10 }, abc: { pids: 11 }, "ab.*": { pids: 12 } }
  assert.deepStrictEqual(ContainerOptions.find(images, "abc"), { pids: 11 })
  assert.deepStrictEqual(ContainerOptions.find(images, "abd"), { pids: 10 })
  assert.isUndefined(ContainerOptions.find(images, "xabc"))
  assert.isUndefined(ContainerOptions.find(images, "constructor"))
})

it("F5 what makes no sense is refused, all of it at once, by its path", () => {
  const problems = OptionCheck.problemsOf(
    ContainerOptions.ContainerOptions,
    {
      memory: 1000,
      workdir: "relative",
      writable: ["/ok", "/not/../ok"],
      network: { egress: ["http://example.com"] },
      gpus: 1
    },
    "images.a"
  )
  assert.deepStrictEqual(problems.map(({ path }) => path).toSorted(), [
    "images.a.gpus",
    "images.a.memory",
    "images.a.network.egress.0",
    "images.a.workdir",
    "images.a.writable.1"
  ])
})
