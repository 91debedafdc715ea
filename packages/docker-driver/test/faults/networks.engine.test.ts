import { EnvironmentOutageError } from "@effect-sandbox/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import * as engine from "../support/engine.ts"
import * as lab from "../support/lab.ts"

const limit = 60_000

describe.skipIf(engine.missing !== undefined)(`networks${engine.because}`, { concurrent: true }, () => {
  it.live(
    "F35 many sandboxes need no network of their own, and have no interface but loopback",
    () =>
      Effect.gen(function* () {
        // More than an engine has bridges for.
        const count = 40
        const environment = yield* lab.make({
          pool: count,
          concurrency: 8,
          driver: { defaults: { memory: 16 * 1024 * 1024 } }
        })
        const found = yield* environment.containers
        assert.lengthOf(found, count)
        const details = yield* Effect.forEach(found.slice(0, 5), ({ Id }) => environment.docker.containers.inspect(Id))
        for (const { HostConfig } of details) assert.strictEqual(HostConfig.NetworkMode, "none")
        const networks = yield* environment.docker.networks.list([`${engine.label}=${environment.mark}`])
        assert.deepStrictEqual(networks, [])
        const interfaces = yield* environment.withSession({}, lab.output("ls /sys/class/net"))
        assert.strictEqual(interfaces, "lo\n")
      }),
    limit
  )

  it.live(
    "F5 F35 a network that does not exist is an outage that names it, and leaves no container",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          driver: { defaults: { network: { name: "there-is-no-such-network" } } },
          outageGracePeriod: "300 millis",
          outageRetry: Schedule.spaced("100 millis")
        })
        const error = yield* Effect.flip(environment.withSession({}, Effect.void))
        assert.instanceOf(error, EnvironmentOutageError)
        assert.match(lab.causesOf(error), /DockerError: .*there-is-no-such-network/)
      }),
    limit
  )

  it.live(
    "a runtime that does not exist is an outage that names it, and leaves no container",
    () =>
      Effect.gen(function* () {
        const environment = yield* lab.make({
          driver: { defaults: { runtime: "there-is-no-such-runtime" } },
          outageGracePeriod: "300 millis",
          outageRetry: Schedule.spaced("100 millis")
        })
        const error = yield* Effect.flip(environment.withSession({}, Effect.void))
        assert.instanceOf(error, EnvironmentOutageError)
        assert.match(lab.causesOf(error), /DockerError: .*there-is-no-such-runtime/)
      }),
    limit
  )
})
