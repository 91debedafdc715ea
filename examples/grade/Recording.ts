/** Records what happens in a batch, and draws it when the batch is over, also when it was interrupted. */
import { EventJournal, Timeline } from "@effect-sandbox/devtools"
import { Console, Effect, FileSystem } from "effect"

export interface Options {
  /** The page to draw; beside it lies the journal that it is made from. */
  readonly timeline: string
  /** Keeps what the journal of an earlier run holds. */
  readonly resume: boolean
  readonly title: string
}

/** Runs a batch with a journal. What cannot be drawn is no reason for a batch to fail. */
export const record = Effect.fnUntraced(function* <A, E, R>(
  batch: Effect.Effect<A, E, R>,
  { resume, timeline, title }: Options
) {
  const fs = yield* FileSystem.FileSystem
  const journal = journalOf(timeline)
  if (!resume) yield* fs.remove(journal, { force: true })
  const draw = Timeline.write(timeline, EventJournal.read(journal, { onDamage: "skip" }), { title }).pipe(
    Effect.andThen(Console.log(`Timeline: ${timeline} (open it in a browser)`)),
    Effect.catch((error) => Console.error(`No timeline: ${error.message}`))
  )
  return yield* batch.pipe(Effect.provide(EventJournal.layer({ file: journal })), Effect.ensuring(draw))
})

/** The journal that a page is made from. */
export const journalOf = (timeline: string): string => `${timeline.replace(/(\.timeline)?\.html$/, "")}.events.jsonl`
