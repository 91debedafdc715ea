/** Networks of an engine. */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { DockerError } from "../../DockerError.ts"
import * as Model from "../../DockerModel.ts"
import type { EngineHttp } from "./engineHttp.ts"
import { type Labels, labelFilter } from "./labels.ts"

export interface Networks {
  /** `OutOfAddressPools` when the engine has no addresses left (F35). */
  readonly create: (spec: {
    readonly name: string
    readonly labels?: Labels | undefined
    /** Default: bridge. */
    readonly driver?: string | undefined
    /** Without a way out. Default: false. */
    readonly internal?: boolean | undefined
    readonly options?: { readonly [name: string]: string } | undefined
  }) => Effect.Effect<Model.Created, DockerError>
  readonly inspect: (network: string) => Effect.Effect<Model.Network, DockerError>
  readonly list: (labels: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Model.Network>, DockerError>
  readonly remove: (network: string) => Effect.Effect<void, DockerError>
  readonly connect: (
    network: string,
    container: string,
    options?: { readonly aliases?: ReadonlyArray<string> | undefined }
  ) => Effect.Effect<void, DockerError>
  readonly disconnect: (network: string, container: string) => Effect.Effect<void, DockerError>
}

export const make = (http: EngineHttp): Networks => {
  const about = (what: string, name: string) => ({ operation: `${what} network ${name}`, subject: `network ${name}` })
  return {
    create: ({ driver, internal, labels, name, options }) =>
      http.json(
        {
          ...about("the creation of", name),
          method: "POST",
          path: ["networks", "create"],
          body: {
            json: {
              Name: name,
              // Older engines would make a second network of the same name.
              CheckDuplicate: true,
              Driver: driver ?? "bridge",
              Internal: internal ?? false,
              Labels: labels ?? {},
              Options: options ?? {}
            }
          }
        },
        Model.Created
      ),
    inspect: (network) =>
      http.json({ ...about("a look at", network), method: "GET", path: ["networks", network] }, Model.Network),
    list: (labels) =>
      http.json(
        {
          operation: "the list of networks",
          subject: "list of networks",
          method: "GET",
          path: ["networks"],
          query: { filters: labelFilter(labels) }
        },
        Schema.Array(Model.Network)
      ),
    remove: (network) =>
      http.unit({ ...about("the removal of", network), method: "DELETE", path: ["networks", network] }),
    connect: (network, container, options = {}) =>
      http.unit({
        ...about(`the connection of ${container} to`, network),
        method: "POST",
        path: ["networks", network, "connect"],
        body: { json: { Container: container, EndpointConfig: { Aliases: options.aliases ?? [] } } }
      }),
    disconnect: (network, container) =>
      http.unit({
        ...about(`the disconnection of ${container} from`, network),
        method: "POST",
        path: ["networks", network, "disconnect"],
        body: { json: { Container: container, Force: true } }
      })
  }
}
