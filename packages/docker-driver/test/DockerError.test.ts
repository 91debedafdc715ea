import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { DockerError, EngineUnavailable } from "../src/DockerError.ts"
import * as classify from "../src/internal/engine/classify.ts"

const call = { operation: "the creation of container web", subject: "container web" }
const image = { operation: "the pull of image ghcr.io/a/b:1", subject: "image ghcr.io/a/b:1", image: "ghcr.io/a/b:1" }
const target = {
  connection: { _tag: "Unix" as const, path: "/run/docker.sock" },
  address: "unix:///run/docker.sock",
  source: "DOCKER_HOST"
}

/** What engines were seen to say, from 19.03 to 28, and what it means. */
const refusals: ReadonlyArray<readonly [status: number, message: string, call: classify.Call, tag: string]> = [
  [400, "client version 1.51 is too new. Maximum supported API version is 1.41", call, "UnsupportedVersion"],
  [400, "client version 1.24 is too old. Minimum supported API version is 1.44", call, "UnsupportedVersion"],
  [400, "No command specified", call, "InvalidRequest"],
  [400, "invalid reference format", image, "InvalidRequest"],
  [400, "Unknown runtime specified runsc", call, "InvalidRequest"],
  [404, "No such container: web", call, "NotFound"],
  [404, "no such image: a:1: No such image: a:1", { ...call, image: "a:1" }, "ImageNotFound"],
  [404, "manifest for ghcr.io/a/b:1 not found: manifest unknown: manifest unknown", image, "ImageNotFound"],
  [404, "pull access denied for b, repository does not exist or may require 'docker login'", image, "RegistryAuth"],
  [500, "Head https://ghcr.io/v2/a/b/manifests/1: unauthorized", image, "RegistryAuth"],
  [500, "Get https://ghcr.io/v2/: no basic auth credentials", image, "RegistryAuth"],
  [500, "errors: denied: requested access to the resource is denied", image, "RegistryAuth"],
  [500, "Get https://ghcr.io/v2/: dial tcp: lookup ghcr.io: no such host", image, "PullFailed"],
  [500, "toomanyrequests: You have reached your pull rate limit", image, "PullFailed"],
  [500, "filesystem layer verification failed for digest sha256:00", image, "PullFailed"],
  [404, "no matching manifest for linux/arm64/v8 in the manifest list entries", image, "WrongPlatform"],
  [
    404,
    "image with reference a was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
    { ...call, image: "a" },
    "WrongPlatform"
  ],
  [409, 'Conflict. The container name "/web" is already in use by container "1a"', call, "NameConflict"],
  [409, "network with name web already exists", call, "NameConflict"],
  [500, 'creating container storage: the container name "web" is already in use by 1a', call, "NameConflict"],
  [409, "Container 1a is not running", call, "WrongState"],
  [409, "remove web: volume is in use - [1a]", call, "WrongState"],
  [409, "removal of container web is already in progress", call, "WrongState"],
  [500, "can only kill running containers. 1a is in state exited: container state improper", call, "WrongState"],
  [500, "cannot start a paused container, try unpause instead", call, "EngineError"],
  [500, "Container 1a is not paused", call, "WrongState"],
  [
    500,
    "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    call,
    "OutOfAddressPools"
  ],
  [500, "all predefined address pools have been fully subnetted", call, "OutOfAddressPools"],
  [500, "write /var/lib/docker/overlay2/1a: no space left on device", call, "DiskFull"],
  [
    500,
    "failed to register layer: Error processing tar file(exit status 1): no space left on device",
    image,
    "DiskFull"
  ],
  [500, "something else", call, "EngineError"],
  [503, "This node is not a swarm manager", call, "EngineError"]
]

/** What the system, `node:http` and undici were seen to say. */
const failures: ReadonlyArray<readonly [code: string, message: string, tag: string]> = [
  ["ENOENT", "connect ENOENT /run/docker.sock", "EngineUnavailable"],
  ["ECONNREFUSED", "connect ECONNREFUSED /run/docker.sock", "EngineUnavailable"],
  ["ENOTFOUND", "getaddrinfo ENOTFOUND engine", "EngineUnavailable"],
  ["EHOSTUNREACH", "connect EHOSTUNREACH 10.0.0.1:2376", "EngineUnavailable"],
  ["UND_ERR_CONNECT_TIMEOUT", "Connect Timeout Error", "EngineUnavailable"],
  ["EACCES", "connect EACCES /run/docker.sock", "PermissionDenied"],
  ["EPERM", "connect EPERM /run/docker.sock", "PermissionDenied"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "self-signed certificate", "EngineUnavailable"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "Hostname/IP does not match certificate's altnames", "EngineUnavailable"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "wrong version number", "EngineUnavailable"],
  ["ECONNRESET", "read ECONNRESET", "ConnectionLost"],
  ["EPIPE", "write EPIPE", "ConnectionLost"],
  ["UND_ERR_SOCKET", "other side closed", "ConnectionLost"]
]

describe("what an engine's refusal means", () => {
  for (const [status, message, about, tag] of refusals) {
    it(`${status} ${message}: ${tag}`, () => {
      const reason = classify.refusal({ status, message }, about)
      assert.strictEqual(reason._tag, tag)
      // Nothing of what the engine said is kept back.
      if (tag !== "UnsupportedVersion") assert.include(reason.message, message)
    })
  }
})

describe("what a broken connection means", () => {
  for (const [code, message, tag] of failures) {
    it(`${code}: ${tag}`, () => {
      const cause = Object.assign(new Error(message), { code })
      const wrapped = Object.assign(new Error("outer"), { cause: new AggregateError([cause]) })
      for (const error of [cause, wrapped]) {
        assert.strictEqual(classify.transport(error, target, "a ping")._tag, tag)
      }
    })
  }

  it("says what to do about it, where the engine was looked for, and why there", () => {
    const error = Object.assign(new Error("connect"), { code: "ENOENT" })
    const { message } = classify.transport(error, target, "a ping")
    assert.strictEqual(
      message,
      "No container engine answers at unix:///run/docker.sock, which comes from DOCKER_HOST: there is no such socket. Start it (systemctl start docker, or Docker Desktop), or say with DOCKER_HOST where it is."
    )
    const denied = classify.transport({ code: "EACCES" }, target, "a ping").message
    assert.include(denied, "usermod -aG docker")
    assert.include(classify.transport("odd", target, "a ping").message, "no reason was given")
  })
})

describe("DockerError", () => {
  it.effect("can be stored and caught by its reason", () =>
    Effect.gen(function* () {
      const error = new DockerError({
        reason: new EngineUnavailable({ address: "tcp://a:1", source: "DOCKER_HOST", description: "refused" })
      })
      const json = yield* Schema.encodeEffect(Schema.toCodecJson(DockerError))(error)
      const back = yield* Schema.decodeUnknownEffect(Schema.toCodecJson(DockerError))(JSON.parse(JSON.stringify(json)))
      assert.strictEqual(back.message, error.message)
      const caught = yield* Effect.fail(back).pipe(
        Effect.catchReason("DockerError", "EngineUnavailable", ({ address }) => Effect.succeed(address))
      )
      assert.strictEqual(caught, "tcp://a:1")
    })
  )
})
