/** A registry on loopback, which every engine accepts without TLS: so pulls are real ones, by the engine itself. */
import { createHash } from "node:crypto"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { gzipSync } from "node:zlib"
import { Effect, Stream } from "effect"
import { Tar } from "effect/encoding"

export interface FakeRegistry {
  /** `127.0.0.1:40123` */
  readonly host: string
  /** `GET /v2/a/manifests/1`, …, as they came. */
  readonly requests: ReadonlyArray<string>
}

export interface FakeImage {
  readonly architecture?: string
  /** Whether there is a list of manifests by platform, or just one that says nothing of its own. Default: a list. */
  readonly isList?: boolean
  readonly files: { readonly [path: string]: string }
  readonly labels?: { readonly [name: string]: string }
}

interface Blob {
  readonly digest: string
  readonly type: string
  readonly bytes: Buffer
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"
const listType = "application/vnd.docker.distribution.manifest.list.v2+json"

const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`

const blob = (type: string, bytes: Buffer): Blob => ({ digest: digestOf(bytes), type, bytes })

const json = (type: string, value: unknown) => blob(type, Buffer.from(JSON.stringify(value)))

const describe = ({ bytes, digest, type }: Blob) => ({ mediaType: type, size: bytes.length, digest })

/** The blobs of an image, of which the last is what its name leads to. */
const build = ({
  architecture = process.arch === "arm64" ? "arm64" : "amd64",
  files,
  isList = true,
  labels = {}
}: FakeImage) =>
  Effect.gen(function* () {
    const entries = Object.entries(files).map(([path, content]) => Tar.file(path, content, { mode: 0o755 }))
    const chunks = yield* Stream.fromIterable(entries).pipe(
      Stream.pipeThroughChannel(Tar.encode<never, unknown, Tar.Entry<never>>()),
      Stream.runCollect,
      Effect.orDie
    )
    const tar = Buffer.concat(chunks)
    const layer = blob("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipSync(tar))
    const config = json("application/vnd.docker.container.image.v1+json", {
      architecture,
      os: "linux",
      config: { Cmd: ["/program"], Labels: labels },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
      history: [{ created_by: "a test" }]
    })
    const layers = [describe(layer)]
    const manifest = json(manifestType, {
      schemaVersion: 2,
      mediaType: manifestType,
      config: describe(config),
      layers
    })
    const manifests = [{ ...describe(manifest), platform: { os: "linux", architecture } }]
    const list = json(listType, { schemaVersion: 2, mediaType: listType, manifests })
    return isList ? [layer, config, manifest, list] : [layer, config, manifest]
  })

/** Serves images by `name:tag`; with `user`, only to those who know the password. */
export const make = (options: {
  readonly images: { readonly [reference: string]: FakeImage }
  readonly user?: { readonly name: string; readonly password: string }
  /** Before a blob is sent. */
  readonly delayMillis?: number
  /** Sends other bytes than it says. */
  readonly corrupt?: boolean
}) =>
  Effect.gen(function* () {
    const blobs = new Map<string, Blob>()
    const references = new Map<string, Blob>()
    for (const [reference, image] of Object.entries(options.images)) {
      const built = yield* build(image)
      for (const one of built) blobs.set(one.digest, one)
      const last = built.at(-1)
      if (last !== undefined) references.set(reference, last)
    }
    const requests: Array<string> = []
    const { delayMillis = 0, user } = options
    const expected =
      user === undefined ? undefined : `Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}`

    const server = http.createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`)
      const refuse = (status: number, code: string) => {
        response.statusCode = status
        response.setHeader("content-type", "application/json")
        response.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase() }] }))
      }
      if (expected !== undefined && request.headers.authorization !== expected) {
        response.setHeader("www-authenticate", 'Basic realm="fake"')
        return refuse(401, "UNAUTHORIZED")
      }
      if (request.url === "/v2/") return response.end("{}")
      const [, name, kind, id = ""] = /^\/v2\/(.*)\/(manifests|blobs)\/(.*)$/.exec(request.url ?? "") ?? []
      const found = blobs.get(id) ?? references.get(`${name}:${id}`)
      if (found === undefined) return refuse(404, "MANIFEST_UNKNOWN")
      response.setHeader("content-type", kind === "blobs" ? "application/octet-stream" : found.type)
      response.setHeader("docker-content-digest", found.digest)
      const isLayer = found.type.endsWith("tar.gzip")
      const bytes = options.corrupt === true && isLayer ? Buffer.alloc(found.bytes.length, 1) : found.bytes
      response.setHeader("content-length", bytes.length)
      const send = () => response.end(request.method === "HEAD" ? undefined : bytes)
      if (delayMillis > 0 && isLayer) setTimeout(send, delayMillis)
      else send()
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo // it listens on TCP
    const registry: FakeRegistry = { host: `127.0.0.1:${port}`, requests }
    return registry
  })
