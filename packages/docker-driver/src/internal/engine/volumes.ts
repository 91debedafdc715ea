/** Volumes of an engine. */
import * as Effect from "effect/Effect"
import type { DockerError } from "../../DockerError.ts"
import * as Model from "../../DockerModel.ts"
import type { EngineHttp } from "./engineHttp.ts"
import { type Labels, labelFilter } from "./labels.ts"

export interface Volumes {
  /** Gives what exists when there is a volume of that name already, whatever its labels are. */
  readonly create: (spec: {
    readonly name: string
    readonly labels?: Labels | undefined
    readonly driver?: string | undefined
    readonly driverOptions?: { readonly [name: string]: string } | undefined
  }) => Effect.Effect<Model.Volume, DockerError>
  readonly inspect: (name: string) => Effect.Effect<Model.Volume, DockerError>
  readonly list: (labels: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Model.Volume>, DockerError>
  /** `WrongState` while a container uses it. */
  readonly remove: (name: string) => Effect.Effect<void, DockerError>
}

export const make = (http: EngineHttp): Volumes => {
  const about = (what: string, name: string) => ({ operation: `${what} volume ${name}`, subject: `volume ${name}` })
  return {
    create: ({ driver, driverOptions, labels, name }) =>
      http.json(
        {
          ...about("the creation of", name),
          method: "POST",
          path: ["volumes", "create"],
          body: { json: { Name: name, Labels: labels ?? {}, Driver: driver, DriverOpts: driverOptions } }
        },
        Model.Volume
      ),
    inspect: (name) => http.json({ ...about("a look at", name), method: "GET", path: ["volumes", name] }, Model.Volume),
    list: (labels) =>
      Effect.map(
        http.json(
          {
            operation: "the list of volumes",
            subject: "list of volumes",
            method: "GET",
            path: ["volumes"],
            query: { filters: labelFilter(labels) }
          },
          Model.Volumes
        ),
        ({ Volumes }) => Volumes
      ),
    remove: (name) => http.unit({ ...about("the removal of", name), method: "DELETE", path: ["volumes", name] })
  }
}
