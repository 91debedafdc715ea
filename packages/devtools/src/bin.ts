#!/usr/bin/env node
/** The command line tool `effect-sandbox`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { command } from "./internal/cli.ts"

const Manifest = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

/** That of the package, which is beside this module's directory, as source and as built. */
const version = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = yield* path.fromFileUrl(new URL("../package.json", import.meta.url))
  return (yield* Schema.decodeEffect(Manifest)(yield* fs.readFileString(file))).version
})

NodeRuntime.runMain(
  version.pipe(
    Effect.flatMap((version) => Command.run(command, { version })),
    Effect.provide(NodeServices.layer)
  )
)
