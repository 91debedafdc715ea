/**
 * A page that shows what happened when: sandboxes as lanes, sessions and activities as bars in them, errors, outages
 * and waiting. It is one HTML file that needs nothing else, no network and no server, and can be sent to somebody.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { Environment, EventRecorder } from "@effect-sandbox/core"
 * import { Timeline } from "@effect-sandbox/devtools"
 *
 * class Lab extends Environment.Service<Lab>()("app/Lab", { images: ["base"] }) {}
 *
 * const LabLive = Lab.layer.pipe(Layer.provideMerge(EventRecorder.layer))
 *
 * const draw = Effect.gen(function*() {
 *   const recorder = yield* EventRecorder
 *   yield* Timeline.write("lab.timeline.html", Stream.fromIterable(yield* recorder.events), { title: "Lab" })
 * })
 * ```
 */
import type { SandboxEvent } from "@effect-sandbox/core/SandboxEvent"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as PlatformErrors from "effect/PlatformError"
import * as Stream from "effect/Stream"
import { TimelineBuilder } from "./internal/timelineBuilder.ts"
import * as Data from "./internal/timelineData.ts"

export interface TimelineOptions {
  /** What the page is called. Default: `"Sandboxes"`. */
  readonly title?: string | undefined
}

/**
 * Makes the page from events in their order, as a text.
 *
 * Events may be a part of what happened: what has no end is drawn until the last event, and marked. Long messages are
 * cut to 2,000 characters. Memory is needed for about 50 bytes an event and the page itself; `write` needs less.
 */
export const html = <E, R>(
  events: Stream.Stream<SandboxEvent, E, R>,
  options: TimelineOptions = {}
): Effect.Effect<string, E | PlatformError, R | FileSystem.FileSystem> => Stream.mkString(page(events, options))

/**
 * Makes the page from events in their order, and writes it into a file. The file is there when all of it is, and an
 * older one is replaced only then.
 */
export const write = Effect.fn("Timeline.write")(function* <E, R>(
  path: string,
  events: Stream.Stream<SandboxEvent, E, R>,
  options: TimelineOptions = {}
): Effect.fn.Return<void, E | PlatformError, R | FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const partial = `${path}.partial`
  yield* page(events, options).pipe(
    Stream.encodeText,
    Stream.run(fs.sink(partial)),
    Effect.andThen(fs.rename(partial, path)),
    Effect.onError(() => Effect.ignore(fs.remove(partial, { force: true })))
  )
})

/** The page, piece by piece. */
const page = <E, R>(events: Stream.Stream<SandboxEvent, E, R>, { title = "Sandboxes" }: TimelineOptions) =>
  Stream.unwrap(
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const template = yield* fs.readFileString(decodeURIComponent(templateUrl.pathname))
      const builder = new TimelineBuilder()
      yield* Stream.runForEachArray(events, (some) =>
        Effect.sync(() => {
          for (const event of some) builder.add(event)
        })
      )
      const [head = "", tail = ""] = template.split(place)
      return Stream.make(head.replace(/<title>.*?<\/title>/, () => `<title>${escape(title)}</title>`)).pipe(
        Stream.concat(packed(Data.encode(builder.finish(title)))),
        Stream.concat(Stream.make(tail))
      )
    })
  )

const templateUrl = new URL("../web-dist/timeline.html", import.meta.url)

/** Where the data goes: into an element that the browser does not run, as base64, which holds no markup. */
const place = /\s*<!--data-->\s*/

const escape = (text: string): string => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

/** Deflated, as base64. */
const packed = (pieces: ReadonlyArray<Uint8Array>) =>
  Stream.fromReadableStream({
    evaluate: () => ReadableStream.from(pieces).pipeThrough(new CompressionStream("deflate-raw")),
    onError: (cause) => PlatformErrors.systemError({ _tag: "Unknown", module: "Timeline", method: "deflate", cause })
  }).pipe(
    Stream.mapAccum(
      () => new Uint8Array(0),
      (rest, chunk: Uint8Array) => {
        const bytes = Buffer.concat([rest, chunk])
        // Three bytes are four characters; only the last piece may be shorter.
        const whole = bytes.length - (bytes.length % 3)
        return [bytes.subarray(whole), [bytes.toString("base64", 0, whole)]] as const
      },
      { onHalt: (rest) => (rest.length === 0 ? [] : [Buffer.from(rest).toString("base64")]) }
    )
  )
